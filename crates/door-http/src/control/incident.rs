//! Requests about breaches, notices of them, and whom a tenant is told by.

use countersign_model::control::{Contacts, Control};
use countersign_model::incident::{Culprit, IncidentControl};
use countersign_model::{Kind, UnixMs, Value};
use serde::Deserialize;

use super::{Incoming, path_id, typed};
use crate::problem::{Part, Problem};
use crate::routes::Target;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    culprit: Culprit,
    since: String,
    #[serde(default)]
    until: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sending {
    #[serde(default)]
    send: bool,
}

pub(super) fn lower(incoming: Incoming<'_>) -> Result<Control, Problem> {
    let id = || path_id(incoming.segment);
    Ok(Control::Incident(match incoming.target {
        Target::ContactsRead => return Ok(Control::ContactsRead),
        Target::ContactsPut => {
            let contacts: Contacts = typed(incoming, "emails, a list of addresses, and language, such as en")?;
            return Ok(Control::ContactsPut(contacts));
        }
        Target::IncidentOpen => {
            let expected = "culprit (token, session, principal, service or tenant_key), since, and perhaps until";
            let Opening { culprit, since, until } = typed(incoming, expected)?;
            let until = until.as_deref().map(moment).transpose()?;
            IncidentControl::Open { culprit, since: moment(&since)?, until }
        }
        Target::IncidentShow => IncidentControl::Show { incident: id()? },
        Target::IncidentContain => IncidentControl::Contain { incident: id()? },
        Target::IncidentNotices => {
            let Sending { send } = typed(incoming, "send, true or false")?;
            IncidentControl::Notices { incident: id()?, send }
        }
        Target::NoticeList => IncidentControl::Received,
        Target::NoticeReceive => IncidentControl::Receive { incident: id()? },
        Target::NoticeAcknowledge => IncidentControl::Acknowledge { incident: id()? },
        _ => IncidentControl::List,
    }))
}

fn moment(text: &str) -> Result<UnixMs, Problem> {
    let expected = "timestamps such as 2026-07-01T09:30:00Z";
    match Value::parse(Kind::Timestamp, text) {
        Ok(Value::Timestamp(moment)) => {
            let ms = moment.unix_timestamp_nanos().div_euclid(1_000_000);
            Ok(UnixMs(u64::try_from(ms).unwrap_or(0)))
        }
        _ => Err(Problem::Syntax { part: Part::Body, line: 1, column: 1, expected }),
    }
}
