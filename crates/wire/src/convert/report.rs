//! How a service is.

use countersign_model::UnixMs;
use countersign_services::ServiceStatus;

use super::Malformed;
use super::trail::service_in;
use crate::pb;

pub(crate) fn status_out(status: ServiceStatus) -> pb::StatusReply {
    pb::StatusReply {
        service: status.service.as_str().to_owned(),
        now: status.now.0,
        started: status.started.0,
        epoch: status.epoch,
        facts_age_ms: status.facts_age_ms,
        is_ready: status.is_ready,
        ledger_records: status.ledger_records,
        ledger_integrated: status.ledger_integrated,
        ledger_cosigned: status.ledger_cosigned,
        ledger_is_writable: status.ledger_is_writable,
        certificate_expires: status.certificate_expires.map(|expires| expires.0),
        kms: status.kms.into_iter().map(|(name, is_up)| pb::KmsStatus { name, is_up }).collect(),
        measures: status.measures,
    }
}

pub(crate) fn status_in(reply: pb::StatusReply) -> Result<ServiceStatus, Malformed> {
    Ok(ServiceStatus {
        service: service_in(&reply.service)?,
        now: UnixMs(reply.now),
        started: UnixMs(reply.started),
        epoch: reply.epoch,
        facts_age_ms: reply.facts_age_ms,
        is_ready: reply.is_ready,
        ledger_records: reply.ledger_records,
        ledger_integrated: reply.ledger_integrated,
        ledger_cosigned: reply.ledger_cosigned,
        ledger_is_writable: reply.ledger_is_writable,
        certificate_expires: reply.certificate_expires.map(UnixMs),
        kms: reply.kms.into_iter().map(|kms| (kms.name, kms.is_up)).collect(),
        measures: reply.measures,
    })
}

#[cfg(test)]
mod tests {
    use countersign_model::Service;

    use super::*;

    #[test]
    fn a_status_comes_back_as_it_was() {
        let status = ServiceStatus {
            service: Service::Store,
            now: UnixMs(1),
            started: UnixMs(2),
            epoch: 3,
            facts_age_ms: 4,
            is_ready: true,
            ledger_records: 5,
            ledger_integrated: 6,
            ledger_cosigned: 7,
            ledger_is_writable: true,
            certificate_expires: Some(UnixMs(8)),
            kms: vec![("file".into(), true), ("hsm".into(), false)],
            measures: vec![9],
        };
        assert_eq!(status_in(status_out(status.clone())), Ok(status.clone()));
        let unknown = pb::StatusReply { service: "something".into(), ..status_out(status) };
        assert!(status_in(unknown).is_err());
    }
}
