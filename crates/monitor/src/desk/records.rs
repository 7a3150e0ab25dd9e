//! What happens at the desk, put on record in the monitor's own ledger.

use countersign_audit::{Body, Record, Service};

use super::Desk;
use super::board::Happening;

impl Desk {
    /// Puts on record what waits for it. What can't be recorded now is tried again later.
    pub(super) async fn record(&self) {
        let happenings = self.board.lock().happenings();
        let mut recorded = 0usize;
        for happening in happenings {
            if self.audit.append(record(happening)).await.is_err() {
                tracing::error!("what happens to alerts can't be put on record");
                break;
            }
            recorded = recorded.saturating_add(1);
        }
        if recorded > 0 {
            self.board.lock().recorded(recorded, self.clock.now());
        }
    }
}

fn record(happening: Happening) -> Record {
    let Happening { at, request, action, verdict, reason, tenant, user, detail } = happening;
    let (user, user_name) = user.unzip();
    Record {
        time: at,
        request,
        service: Service::Monitor,
        door: None,
        verdict,
        tenant,
        tally: None,
        body: Body { user, user_name, action, reason, detail: Some(detail), ..Body::default() },
    }
}
