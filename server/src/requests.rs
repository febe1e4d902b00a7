//! What a running server answers at its control socket.

use std::sync::Arc;

use shared::{
    exit::Error,
    status::{NoArguments, Requests},
};

use crate::{
    operation::Order,
    run::Shown,
    uplink_command::{RELOAD, UPLINK},
};

/// The requests that a server answers.
pub(crate) fn requests(shown: &Arc<Shown>) -> Requests {
    let snapshot = {
        let shown = Arc::clone(shown);
        move || {
            let shown = Arc::clone(&shown);
            async move { shown.snapshot().await }
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
    Requests::new(snapshot).with(RELOAD, reload).with(UPLINK, uplink)
}

fn ends() -> Error {
    Error::failed("the server ends")
}
