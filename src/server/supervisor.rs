//! What the service manager is told (sd_notify(3)). Where none asks, by NOTIFY_SOCKET, nothing
//! happens.

use std::time::Duration;

use sd_notify::NotifyState;

use super::health::Vitals;

/// Clients are accepted.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A HUP is being obeyed; [`ready`] is to follow.
pub fn reloading() {
    // systemd 253 and later want the time with it.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The drain has begun, and takes so long at most: the service manager is not to kill before.
pub fn stopping(timeout: Duration) {
    // What is left at the deadline has still to be written to the log.
    let most = (timeout + Duration::from_secs(5)).as_micros();
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(most)]);
}

/// Feeds the watchdog, if there is one (`WatchdogSec=`), as long as all workers take part.
pub async fn feed_watchdog(vitals: Vitals) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    loop {
        if vitals.all_beat() {
            tell(&[NotifyState::Watchdog]);
        }
        tokio::time::sleep(period / 2).await;
    }
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager could not be told: {error}");
    }
}
