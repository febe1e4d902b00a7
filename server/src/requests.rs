//! What a running server answers at its control socket.

use std::sync::Arc;

use shared::{
    exit::Error,
    status::{CONNECTIONS_MAX, EVENTS, EventsRequest, NoArguments, Requests, Snapshot},
};
use tokio::sync::Semaphore;

use crate::{
    operation::Order,
    run::Shown,
    uplink_command::{RELOAD, UPLINK},
};

/// The requests that a server answers.
pub(crate) fn requests<F, S>(snapshot: F, shown: &Arc<Shown>) -> Requests
where
    F: Fn() -> S + Send + Sync + 'static,
    S: Future<Output = Snapshot> + Send + 'static,
{
    let events = {
        let (shown, followers) = (Arc::clone(shown), Arc::new(Semaphore::new(FOLLOWERS_MAX)));
        move |request: EventsRequest| {
            let (shown, followers) = (Arc::clone(&shown), Arc::clone(&followers));
            async move {
                let _place = match request.wait {
                    true => Some(followers.try_acquire().map_err(|_| too_many())?),
                    false => None,
                };
                let feed = shown.feed().await.ok_or_else(ends)?;
                feed.read(request).await
            }
        }
    };
    let reload = {
        let shown = Arc::clone(shown);
        move |NoArguments {}| {
            let shown = Arc::clone(&shown);
            async move {
                let egress = shown.egress.lock().await;
                let egress = egress.as_ref().ok_or_else(ends)?;
                shown.operation.lock().await.reload(egress).await
            }
        }
    };
    let uplink = {
        let shown = Arc::clone(shown);
        move |order: Order| {
            let shown = Arc::clone(&shown);
            async move {
                let egress = shown.egress.lock().await;
                let egress = egress.as_ref().ok_or_else(ends)?;
                shown.operation.lock().await.order(egress, order).await
            }
        }
    };
    Requests::new(snapshot).with(EVENTS, events).with(RELOAD, reload).with(UPLINK, uplink)
}

/// Those who wait for events at once. Each takes a connection of the control socket for as long.
const FOLLOWERS_MAX: usize = 16;
const _: () = assert!(FOLLOWERS_MAX < CONNECTIONS_MAX, "others must be answered too");

fn too_many() -> Error {
    Error::failed(format_args!("{FOLLOWERS_MAX} readers follow the events already"))
        .with_remedy("end one of them: `pgrep -af 'events.*--follow'` shows them")
}

fn ends() -> Error {
    Error::failed("the server ends")
}
