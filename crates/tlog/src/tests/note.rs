use base64::Engine as _;
use countersign_crypto::SecretKey;
use countersign_crypto::note::NoteKey;

use super::{log_signer, witness_signer};
use crate::*;

const TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const PETER: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const ENOCH: &str =
    "\u{2014} EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";
const PETER_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const ENOCH_KEY: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";

fn key(text: &str) -> VerifierKey {
    text.parse().unwrap()
}

/// The examples of golang.org/x/mod/sumdb/note, which C2SP signed-note writes down.
#[test]
fn the_published_notes() {
    let note: Note = format!("{TEXT}\n{PETER}{ENOCH}").parse().unwrap();
    assert_eq!(note.text(), TEXT);
    assert_eq!(note.verify(&key(PETER_KEY)), Ok(Signed { at_s: None }));
    assert_eq!(note.verify(&key(ENOCH_KEY)), Ok(Signed { at_s: None }));
    assert_eq!(note.to_string(), format!("{TEXT}\n{PETER}{ENOCH}"));
    // Its private key is "PRIVATE+KEY+PeterNeumann+c74f20a3+" and the seed after one byte, base64.
    let seed =
        base64::engine::general_purpose::STANDARD.decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz").unwrap();
    let private = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    assert_eq!(Signer::read(private).unwrap().sign(TEXT, 5).to_string(), PETER);
    for cut in 0..private.len() {
        assert!(Signer::read(&private[..cut]).is_err() && Signer::read(&private[cut + 1..]).is_err(), "{cut}");
    }
    let key = NoteKey::from_seed(&SecretKey::from_slice(&seed[1..]).unwrap());
    let signer = Signer::log("PeterNeumann", key).unwrap();
    assert_eq!(signer.verifier().to_string(), PETER_KEY);
    assert_eq!(signer.sign(TEXT, 5).to_string(), PETER);
}

/// The example of C2SP signed-note.
#[test]
fn the_specification_s_note() {
    let note = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    let key = key("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k");
    assert_eq!(note.parse::<Note>().unwrap().verify(&key), Ok(Signed { at_s: None }));
    let quasimodo = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n\u{2014} quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
    let note: Note = quasimodo.parse().unwrap();
    assert!(note.text().ends_with("sera.\n") && note.signatures().len() == 1);
}

#[test]
fn no_part_and_no_neighbour_of_a_verifier_key_is_one() {
    for start in 0..=PETER_KEY.len() {
        for end in start..=PETER_KEY.len() {
            let whole = (start, end) == (0, PETER_KEY.len());
            assert_eq!(PETER_KEY[start..end].parse::<VerifierKey>().is_ok(), whole, "{start} {end}");
        }
    }
    for place in 0..PETER_KEY.len() {
        let mut bytes = PETER_KEY.as_bytes().to_vec();
        bytes[place] += 1;
        assert!(String::from_utf8(bytes).unwrap().parse::<VerifierKey>().is_err(), "{place}");
    }
    let refused = |text: &str| text.parse::<VerifierKey>().unwrap_err();
    assert_eq!(
        refused("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY=="),
        KeyError::Malformed
    );
    assert_eq!(refused("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"), KeyError::Kind);
    assert_eq!(refused("Bad Name+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"), KeyError::Name);
    assert!(!is_name("") && !is_name("a+b") && !is_name("a\u{a0}b") && !is_name("a\nb") && !is_name(&"x".repeat(256)));
}

#[test]
fn what_is_no_note() {
    let many = |count| format!("{TEXT}\n{}", PETER.repeat(count));
    for bad in [
        TEXT.to_owned(),
        format!("{TEXT}\n"),
        format!("{TEXT}\n{}", PETER.trim_end()),
        format!("\u{1}{TEXT}\n{PETER}"),
        format!("a\tb{TEXT}\n{PETER}"),
        format!("{TEXT}\n{}", PETER.replace("PeterNeumann", "Bad  Name")),
        format!("{TEXT}\n{}", PETER.replace("PeterNeumann", "Bad+Name")),
        format!("{TEXT}\n{PETER}Unexpected line.\n"),
        format!("{TEXT}\n{}", PETER.replace('\u{2014}', "-")),
        format!("{TEXT}\n{}", PETER.replace("AM=", "AN=")), // bits after the end
        format!("{TEXT}\n{}", PETER.replace("AM=", "AM")),
        format!("{TEXT}\n\u{2014} name x08goA=="),   // an id and no newline
        format!("{TEXT}\n\u{2014} name x08gow==\n"), // an id and nothing else
        format!("\n{PETER}").replacen('\n', "", 1),
    ] {
        assert_eq!(bad.parse::<Note>().unwrap_err(), NoteError::Malformed, "{bad:?}");
    }
    assert!(many(MAX_SIGNATURES).parse::<Note>().is_ok());
    assert_eq!(many(MAX_SIGNATURES + 1).parse::<Note>().unwrap_err(), NoteError::TooLong);
    assert_eq!(format!("{}\n\n{PETER}", "x".repeat(MAX_NOTE_BYTES)).parse::<Note>().unwrap_err(), NoteError::TooLong);
}

#[test]
fn signatures_of_others_are_passed_by_and_false_ones_of_the_key_are_not() {
    let (peter, enoch) = (key(PETER_KEY), key(ENOCH_KEY));
    let note: Note = format!("{TEXT}\n{PETER}").parse().unwrap();
    assert_eq!(note.verify(&enoch), Err(NoteError::Unsigned));
    let changed: Note = format!("{}\n{PETER}{ENOCH}", TEXT.replace("think", "thing")).parse().unwrap();
    assert_eq!(changed.verify(&peter), Err(NoteError::BadSignature));
    // The name or the id alone makes it no signature of the key.
    let renamed: Note = format!("{TEXT}\n{}", PETER.replace("PeterNeumann", "CarmenSandiego")).parse().unwrap();
    assert_eq!(renamed.verify(&peter), Err(NoteError::Unsigned));
    let other_id: Note = format!("{TEXT}\n{}", PETER.replace("x08g", "xxxx")).parse().unwrap();
    assert_eq!(other_id.verify(&peter), Err(NoteError::Unsigned));
    // One that is false beside one that is good.
    let second = PETER.replace("SffcvIAQ", "SffcvIAR");
    let both: Note = format!("{TEXT}\n{PETER}{second}").parse().unwrap();
    assert_eq!(both.verify(&peter), Err(NoteError::BadSignature));
}

#[test]
fn a_cosignature_bears_its_time() {
    let log = log_signer("data.example/log/store/first", 1);
    let witness = witness_signer("witness.example/w1", 2);
    let checkpoint = Checkpoint::new(log.name(), 7, Hash::leaf(b"x"));
    let (read, mut note) = Checkpoint::open(&checkpoint.sign(&log), &log.verifier()).unwrap();
    assert_eq!(read, checkpoint);
    let line = witness.sign(note.text(), 1_679_315_147);
    assert_eq!(line.bytes.len(), 72);
    assert!(note.add(line.clone()));
    assert_eq!(note.verify(&witness.verifier()), Ok(Signed { at_s: Some(1_679_315_147) }));
    assert!(witness.verifier().is_witness() && !log.verifier().is_witness());
    assert_eq!(witness.verifier().to_string().parse(), Ok(witness.verifier()));
    // Another time, the same name with another kind of key, and a log's signature under a witness's key don't pass.
    let mut later = line.clone();
    later.bytes[7] ^= 1;
    assert!(witness.verifier().verify(note.text(), &later).is_none());
    let same_key = log_signer("witness.example/w1", 2);
    assert_ne!(same_key.verifier().id(), witness.verifier().id());
    let as_log = NoteSignature { bytes: same_key.sign(note.text(), 0).bytes, ..line.clone() };
    assert!(witness.verifier().verify(note.text(), &as_log).is_none());
    // A newer one takes the older one's place.
    assert!(note.add(witness.sign(note.text(), 1_679_315_148)));
    assert_eq!(note.signatures().len(), 2);
    assert_eq!(note.verify(&witness.verifier()), Ok(Signed { at_s: Some(1_679_315_148) }));
    assert_eq!(signature_lines(&line.to_string()).unwrap(), [line]);
    assert!(signature_lines("").is_err() && signature_lines("\n").is_err());
}

#[test]
fn a_witness_is_made_again_from_its_text() {
    let (witness, text) = Signer::new_witness("witness.example/w1", &SecretKey::from_bytes([3; 32])).unwrap();
    let again = Signer::read(&text).unwrap();
    assert_eq!(again.verifier(), witness.verifier());
    assert!(again.verifier().is_witness() && again.sign("x\n", 7) == witness.sign("x\n", 7));
    assert!(!format!("{again:?}").contains(text.rsplit('+').next().unwrap()));
}

/// The example of C2SP tlog-cosignature: whose keys are not published, but whose form is.
#[test]
fn the_published_checkpoint() {
    let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let note = format!(
        "{text}\n\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    );
    let read = Checkpoint::unverified(&note).unwrap();
    assert_eq!((read.origin.as_str(), read.size), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(read.to_text(), text);
    let note: Note = note.parse().unwrap();
    assert_eq!(note.signatures()[1].bytes.len(), 72);
    assert_eq!(note.signatures()[1].bytes[..8], 1_679_315_147u64.to_be_bytes());
}

#[test]
fn what_is_no_checkpoint() {
    let good = Checkpoint::new("a/b", 3, Hash::empty()).to_text();
    assert!(Checkpoint::from_text(&good).is_ok());
    let more = Checkpoint { extensions: vec!["x y".into()], ..Checkpoint::from_text(&good).unwrap() };
    assert_eq!(Checkpoint::from_text(&more.to_text()), Ok(more));
    for bad in [
        good.replacen("a/b", "", 1),
        good.replacen("a/b", "a b", 1),
        good.replacen("\n3\n", "\n03\n", 1),
        good.replacen("\n3\n", "\n+3\n", 1),
        good.replacen("\n3\n", "\n-3\n", 1),
        good.replacen("\n3\n", "\n9223372036854775808\n", 1),
        good.replacen('=', "", 1),
        format!("{good}\n"),
        good.trim_end().to_owned(),
        format!("{good}{}", "x\n".repeat(MAX_EXTENSIONS + 1)),
        "a/b\n3\n".to_owned(),
    ] {
        assert_eq!(Checkpoint::from_text(&bad), Err(CheckpointError::Malformed), "{bad:?}");
    }
    // The key of one log does not speak for another.
    let signer = log_signer("a/c", 1);
    let note = Checkpoint::new("a/b", 3, Hash::empty()).sign(&signer);
    assert_eq!(Checkpoint::open(&note, &signer.verifier()).unwrap_err(), CheckpointError::OtherLog);
}
