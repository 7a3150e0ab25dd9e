use std::mem::size_of;

use prost::{Message, Name};

use super::*;
use crate::pb;

fn skimmed<M: Message + Name>(message: &M) -> Result<(), OutOfBounds> {
    skim(Shape::of(&M::full_name()).unwrap(), &message.encode_to_vec())
}

#[test]
fn no_message_takes_more_than_it_is_counted_for() {
    let mut held = Vec::new();
    macro_rules! held {
        ($($name:ident)*) => {$(
            assert!(size_of::<pb::$name>() <= memory_bytes(stringify!($name)), stringify!($name));
            held.push(pb::$name::full_name());
        )*};
    }
    held!(Call Request Read After Text Select Empty SelectField Embed Filter FilterList Test TextList Order Insert
        InputRow NamedInput OnConflict Returning Update Delete History);
    held!(Failure Refusal Invalid FieldKindRow AmbiguousEmbed TooMany);
    held!(ReleaseRequest ReleaseReply FieldKey Count Opened FieldSet PipeCall PipeAnswer
        SealKeyRequest SealKeyReply NewTenantKeyRequest NewTenantKeyReply
        RewrapTenantKeyRequest RewrapTenantKeyReply IssuedEpochRequest IssuedEpochReply);
    held!(ReadRecordsRequest HistoryRequest Scan TagAccess RowChunk SealedRow Cell WriteRecordsRequest Change FieldTag Requirement
        WriteRecordsReply Rejected UniqueTaken PresentRequirement Once DoneRequest DoneReply CreateTenantRequest AnyRecordsRequest AnyRecordsReply);
    held!(TrailQueryRequest Owner LedgerQuery Doer RecordName RecordChunk AuditRecord TalliesRequest TallyChunk TallyEntry
        Tally ExposuresRequest ExposureChunk ProveRequest ProvedChunk);
    held!(LogRequest TileRequest CosignRequest CosignedRequest LogReply LogFault StatusRequest StatusReply KmsStatus
        WatchRequest WatchReply);
    held!(ControlRequest Peer Dpop ControlReply ControlDone ControlFailed PublicCall PublicReply Header FactsRequest
        FactsMessage FactsPart JoinRequest RenewRequest CertificateReply);
    for name in SHAPES.names.keys() {
        assert!(held.contains(name), "{name} is missing above");
    }
}

#[test]
fn what_grows_out_of_its_bytes_is_refused_before_it_does() {
    // Two bytes each, hundreds in memory.
    let select = vec![pb::Select { part: None }; 1_000_000];
    let read = pb::Read { select, ..pb::Read::default() };
    assert!(read.encoded_len() < 3_000_000);
    assert_eq!(skimmed(&read), Err(OutOfBounds));
    let few = pb::Read { select: vec![pb::Select { part: None }; 1_000], ..pb::Read::default() };
    assert_eq!(skimmed(&few), Ok(()));
}

#[test]
fn nesting_ends_somewhere() {
    let nested = |levels: usize| {
        (0..levels).fold(pb::Filter { condition: None }, |filter, _| pb::Filter {
            condition: Some(pb::filter::Condition::Not(Box::new(filter))),
        })
    };
    assert_eq!(skimmed(&nested(90)), Ok(()));
    assert_eq!(skimmed(&nested(100)), Err(OutOfBounds));
}

#[test]
fn what_is_no_message_is_refused() {
    let shape = Shape::of("countersign.v1.Call").unwrap();
    for bad in [&[0x0a][..], &[0x0a, 5, 1], &[0x0b], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
        assert_eq!(skim(shape, bad), Err(OutOfBounds), "{bad:?}");
    }
    assert!(Shape::of("countersign.v1.Nothing").is_none());
}
