//! What a running server answers at its control socket.

use std::sync::Arc;

use shared::{
    exit::Error,
    status::{CONNECTIONS_MAX, EVENTS, EventsRequest, Requests},
};
use tokio::sync::Semaphore;

use crate::run::Shown;

/// The requests that a server answers.
pub(crate) fn requests(shown: &Arc<Shown>) -> Requests {
    let snapshot = {
        let shown = Arc::clone(shown);
        move || {
            let shown = Arc::clone(&shown);
            async move { shown.snapshot().await }
        }
    };
    let events = {
        let (shown, followers) = (Arc::clone(shown), Arc::new(Semaphore::new(FOLLOWERS_MAX)));
        move |request: EventsRequest| {
            let (shown, followers) = (Arc::clone(&shown), Arc::clone(&followers));
            async move {
                let _place = match request.wait {
                    true => Some(followers.try_acquire().map_err(|_| too_many())?),
                    false => None,
                };
                let feed = shown.feed().await.ok_or_else(|| Error::failed("the server ends"))?;
                feed.read(request).await
            }
        }
    };
    Requests::new(snapshot).with(EVENTS, events)
}

/// Those who wait for events at once. Each takes a connection of the control socket for as long.
const FOLLOWERS_MAX: usize = 16;
const _: () = assert!(FOLLOWERS_MAX < CONNECTIONS_MAX, "others must be answered too");

fn too_many() -> Error {
    Error::failed(format_args!("{FOLLOWERS_MAX} readers follow the events already"))
        .with_remedy("end one of them: `pgrep -af 'events.*--follow'` shows them")
}
