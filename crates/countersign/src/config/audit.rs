//! `[audit]`

use countersign_tlog::VerifierKey;
use toml::de::DeValue;

use super::section::section;
use super::setting::{Setting, Whole, quoted};

/// How many witnesses a deployment may expect. A log remembers twice as many, its services' and others' among them.
const WITNESSES_MAX: usize = 16;

section! {
    /// Audit records, under audit/. A request whose record can't be made durable is refused.
    Audit = "audit" {
        /// Bytes after which a new file is begun.
        segment_bytes: Whole<65_536, 1_073_741_824> = Whole::new(67_108_864);
        /// Whether the records are a transparency log. Without one nothing proves that none was changed or removed; the
        /// setting is for measuring what the log costs.
        log: bool = true;
        /// Milliseconds until a signed checkpoint covers a record, at the latest.
        checkpoint_ms: Whole<10, 1_000> = Whole::new(1_000);
        /// Days for which records are kept at least; older files are removed, with a record that says so. 0 is for ever.
        keep_days: Whole<0, 36_500> = Whole::new(0);
        /// Verifier keys of witnesses outside, as `countersign witness` prints them, whose cosignatures are always taken.
        /// Of others, which anybody may run, each log takes those of the first eight that come.
        witnesses: Witnesses = Witnesses(Vec::new());
    }
}

/// Verifier keys of witnesses (C2SP signed-note).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnesses(pub Vec<String>);

impl Setting for Witnesses {
    fn expected() -> String {
        format!("a list of at most {WITNESSES_MAX} verifier keys of witnesses, as `countersign witness` prints them")
    }

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let is_witness = |text: &&str| text.parse::<VerifierKey>().is_ok_and(|key| key.is_witness());
        let key = |item: &str| Some(item).filter(is_witness).map(str::to_owned);
        let keys: Vec<_> = value.as_array()?.iter().map(|item| key(item.get_ref().as_str()?)).collect::<Option<_>>()?;
        (keys.len() <= WITNESSES_MAX).then_some(Self(keys))
    }

    fn write(&self) -> String {
        let keys: Vec<String> = self.0.iter().map(|key| quoted(key)).collect();
        format!("[{}]", keys.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use countersign_crypto::SecretKey;
    use countersign_crypto::note::NoteKey;
    use countersign_tlog::Signer;

    use crate::config::Config;

    #[test]
    fn witnesses_are_named_by_their_keys() {
        let key = || NoteKey::from_seed(&SecretKey::from_bytes([1; 32]));
        let witness = Signer::witness("them.example/witness", key()).unwrap().verifier().to_string();
        let log = Signer::log("them.example/log", key()).unwrap().verifier().to_string();
        let read = |text: &str| Config::parse(Path::new("c.toml"), &format!("[audit]\nwitnesses = [{text}]\n"));
        let config = read(&format!("{witness:?}")).unwrap();
        assert_eq!(config.audit.witnesses.0, [witness.as_str()]);
        assert_eq!(Config::parse(Path::new("c.toml"), &config.to_text()).unwrap(), config);
        for wrong in [format!("{log:?}"), "\"them.example\"".to_owned(), format!("{witness:?},").repeat(17)] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
