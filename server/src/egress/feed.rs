//! The events as others read them while the egress runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared::clock;
use shared::exit::Error;
use shared::status::{self, EVENTS_WAIT, Events, EventsRequest};
use tokio::time::timeout;

use super::event::{Event, EventKind};
use super::health::State;
use super::watch::Published;

/// Reads the events of an egress; a copy reads the same ones.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Mutex<Published>>);

impl Feed {
    pub(super) fn new(published: Arc<Mutex<Published>>) -> Self {
        Self(published)
    }

    /// The events that are asked for. Where they are to be waited for and there is none yet, the
    /// first one ends the waiting, or [`EVENTS_WAIT`] does.
    ///
    /// # Errors
    /// When the reader knows of more events than there were: it has read those of another run.
    pub async fn read(&self, request: EventsRequest) -> Result<Events, Error> {
        let known = request.after.unwrap_or(0);
        let mut last = self.published().log.follow();
        let there = *last.borrow();
        if known > there {
            return Err(Error::failed(format_args!(
                "there is no event {known} yet, the last is {there}"
            ))
            .with_remedy("ask without `after`: this may be another run of the server"));
        }
        if request.wait {
            // What is there after the longest wait is the answer too.
            let _ = timeout(EVENTS_WAIT, last.wait_for(|last| *last > known)).await;
        }
        // In one moment for all: what lies between two events is then told as it was.
        let boot = clock::since_epoch().saturating_sub(clock::since_boot());
        let published = self.published();
        let log = &published.log;
        Ok(Events {
            events: log.after(known).map(|event| described(event, boot)).collect(),
            last: log.last(),
            missed: request.after.map_or(0, |after| log.forgotten().saturating_sub(after)),
            pid: std::process::id(),
        })
    }

    fn published(&self) -> std::sync::MutexGuard<'_, Published> {
        self.0.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

/// An event in words; `boot` is when the machine started, since 1970.
fn described(event: &Event, boot: Duration) -> status::Event {
    let some = |field: &dyn ToString| Some(field.to_string());
    let basic = |kind: &str| status::Event {
        kind: kind.to_owned(),
        ..status::Event::new(event.seq, boot + event.at, event.kind.to_string())
    };
    match &event.kind {
        EventKind::Health { uplink, from, to, cause } => status::Event {
            uplink: some(uplink),
            from: some(from),
            to: some(to),
            cause: some(cause),
            ..basic("health")
        },
        EventKind::Family { uplink, family, works } => status::Event {
            uplink: some(uplink),
            family: some(family),
            to: some(if *works { &State::Up } else { &State::Down }),
            ..basic("family")
        },
        EventKind::Ordered { uplink, order } => {
            status::Event { uplink: some(uplink), to: some(order), ..basic("order") }
        }
        EventKind::Quality { uplink, class, breach } => status::Event {
            uplink: some(uplink),
            class: some(class),
            cause: breach.as_ref().and_then(|breach| some(breach)),
            ..basic("quality")
        },
        EventKind::Active { class, family, from, to, reason } => status::Event {
            class: some(class),
            family: some(family),
            from: some(&from.join(",")),
            to: some(&to.join(",")),
            reason: some(reason),
            ..basic("active")
        },
        EventKind::Flushed { uplink, class, family } => status::Event {
            uplink: some(uplink),
            class: some(class),
            family: some(family),
            ..basic("flushed")
        },
    }
}

#[cfg(test)]
mod tests {
    use shared::host::Family;

    use super::super::event::{EVENTS_MAX, Reason};
    use super::super::health::Cause;
    use super::*;

    #[tokio::test]
    async fn a_waiting_reader_gets_what_happens_at_once() {
        let feed = feed(2);
        let reading = tokio::spawn({
            let feed = feed.clone();
            async move { feed.read(EventsRequest { after: Some(2), wait: true }).await }
        });
        // Enough turns to come to where it waits.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!reading.is_finished(), "there is nothing yet");

        let began = clock::since_boot();
        record(&feed, 1);
        let events = reading.await.unwrap().unwrap();

        assert!(clock::since_boot() - began < EVENTS_WAIT / 3, "it does not wait to the end");
        assert_eq!((numbers(&events), events.last, events.missed), (vec![3], 3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_waits_no_longer_than_is_written() {
        let began = tokio::time::Instant::now();
        let events = feed(2).read(EventsRequest { after: Some(2), wait: true }).await.unwrap();

        assert_eq!((began.elapsed(), events.events.len(), events.last), (EVENTS_WAIT, 0, 2));
    }

    #[tokio::test]
    async fn a_reader_gets_what_it_has_not_read_and_hears_what_is_forgotten() {
        let many = EVENTS_MAX as u64;
        let feed = feed(many + 5);
        let read = async |after| feed.read(EventsRequest { after, wait: false }).await.unwrap();

        let all = read(None).await;
        assert_eq!((all.events.len() as u64, all.missed, all.last), (many, 0, many + 5));
        assert_eq!(read(Some(2)).await.missed, 3);
        assert_eq!(read(Some(5)).await.missed, 0);
        let some = read(Some(many + 3)).await;
        assert_eq!((numbers(&some), some.missed), (vec![many + 4, many + 5], 0));
        assert_eq!(numbers(&read(Some(many + 5)).await), [0; 0]);

        let beyond = EventsRequest { after: Some(many + 6), wait: true };
        let error = feed.read(beyond).await.unwrap_err().to_string();
        assert!(error.starts_with("there is no event 1030 yet, the last is 1029\n"), "{error}");
    }

    #[test]
    fn an_event_has_its_fields_as_words() {
        let told = |kind| {
            let event = Event { seq: 4, at: Duration::from_millis(1_500), kind };
            serde_json::to_value(described(&event, Duration::from_secs(100))).unwrap()
        };
        let (a, b) = ("a".to_owned(), "b".to_owned());
        let cause = Cause::Status(503);

        let health =
            EventKind::Health { uplink: a.clone(), from: State::Up, to: State::Down, cause };
        let expected = serde_json::json!({
            "seq": 4, "time": 101.5, "kind": "health", "uplink": "a", "from": "healthy",
            "to": "unhealthy", "cause": "HTTP status 503",
            "text": "uplink a: healthy -> unhealthy (HTTP status 503)",
        });
        assert_eq!(told(health), expected);
        let (family, from) = (Family::V6, Vec::new());
        let reason = Reason::Healthy;
        let active = EventKind::Active { class: "bulk", family, from, to: vec![a, b], reason };
        let told = told(active);
        assert_eq!((&told["from"], &told["to"]), (&"".into(), &"a,b".into()));
        assert_eq!((&told["family"], &told["class"]), (&"IPv6".into(), &"bulk".into()));
        assert_eq!(told["reason"], "healthy, lowest tier");
        assert_eq!(told.get("uplink"), None);
    }

    fn feed(events: u64) -> Feed {
        let feed = Feed::new(Arc::default());
        record(&feed, events);
        feed
    }

    fn record(feed: &Feed, events: u64) {
        for _ in 0..events {
            let kind = EventKind::Quality { uplink: "a".to_owned(), class: "bulk", breach: None };
            feed.published().log.record(clock::since_boot(), kind);
        }
    }

    fn numbers(events: &Events) -> Vec<u64> {
        events.events.iter().map(|event| event.seq).collect()
    }
}
