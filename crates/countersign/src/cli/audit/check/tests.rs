use countersign_crypto::SecretKey;
use countersign_crypto::note::NoteKey;
use countersign_tlog::{Checkpoint, Hash, Levels, Signer, inclusion, root};

use super::*;

const ORIGIN: &str = "data.example/log/store/first";
const REQUEST: &str = "0190b6c2-3f5e-7abc-8def-0123456789ab";

fn key(seed: u8) -> NoteKey {
    NoteKey::from_seed(&SecretKey::from_bytes([seed; 32]))
}

fn log() -> Signer {
    Signer::log(ORIGIN, key(1)).unwrap()
}

fn witness(seed: u8) -> Signer {
    Signer::witness(&format!("w{seed}"), key(seed)).unwrap()
}

/// A leaf as `docs/formats.md` has it, version 1: a header in clear with a tenant, and a body that nobody opens here.
fn leaf(request: RequestId) -> Vec<u8> {
    let mut leaf = vec![1, 3, 2, 1];
    leaf.extend(1_800_000_000_000u64.to_be_bytes());
    leaf.extend(request.as_bytes());
    leaf.extend([7; 16]);
    leaf.extend([0xaa; 60]);
    leaf
}

/// A file with one record, the 42nd of a hundred, in a checkpoint that these have cosigned.
fn file(cosigners: &[Signer]) -> Value {
    let request: RequestId = REQUEST.parse().unwrap();
    let leaf = leaf(request);
    let hash = |index: u64| if index == 42 { Hash::leaf(&leaf) } else { Hash::leaf(&index.to_be_bytes()) };
    let levels = Levels::of((0..100).map(hash));
    let note = Checkpoint::new(ORIGIN, 100, root(&levels, 100).unwrap()).sign(&log());
    let mut note: Note = note.parse().unwrap();
    for signer in cosigners {
        assert!(note.add(signer.sign(note.text(), 1_800_000_001)));
    }
    let path = inclusion(&levels, 42, 100).unwrap();
    let proof = LogProof { extra: None, index: 42, path, checkpoint: note.to_string() };
    json!({
        "version": 1,
        "request": REQUEST,
        "records": [{
            "log": "store/first",
            "key": log().verifier().to_string(),
            "leaf": STANDARD.encode(&leaf),
            "proof": proof.to_text(),
        }],
    })
}

fn refused(file: &Value, asked: &Asked<'_>) -> Unproved {
    check(&file.to_string(), asked).err().unwrap().1
}

#[test]
fn what_is_in_clear_is_told() {
    let (request, records) = check(&file(&[]).to_string(), &Asked::default()).unwrap();
    assert_eq!(request.to_string(), REQUEST);
    let [record] = &records[..] else { panic!("one record") };
    assert_eq!((record.index, record.size), (42, 100));
    let shown = document(request, &records);
    assert_eq!(shown["records"][0]["time"], "2027-01-15T08:00:00Z");
    assert_eq!(shown["records"][0]["service"], "store");
    assert_eq!(shown["records"][0]["verdict"], "released");
    assert_eq!(shown["records"][0]["tenant"], "07070707-0707-0707-0707-070707070707");
    let said = meaning(request, &records, &Asked::default()).join("\n");
    assert!(said.contains("on trust") && said.contains(&log().verifier().to_string()), "{said}");
    assert!(table(&records).render(None, str::to_owned).contains("store/first"));
}

#[test]
fn keys_that_are_named_are_the_only_ones_taken() {
    let (own, other) = ([log().verifier()], [Signer::log(ORIGIN, key(9)).unwrap().verifier()]);
    let named = |keys| Asked { keys, witnesses: &[] };
    let (request, records) = check(&file(&[]).to_string(), &named(&own)).unwrap();
    assert!(!meaning(request, &records, &named(&own)).join("\n").contains("these keys"));
    assert_eq!(refused(&file(&[]), &named(&other)), Unproved::OtherKey);
}

#[test]
fn a_witness_that_is_named_must_have_cosigned() {
    let file = file(&[witness(2), witness(3)]);
    let named = [witness(2).verifier(), witness(4).verifier()];
    let (_, records) = check(&file.to_string(), &Asked { keys: &[], witnesses: &named }).unwrap();
    assert_eq!(records[0].cosigned, [("w2".to_owned(), 1_800_000_001)]);
    assert_eq!(records[0].others, ["w3"]);
    let absent = [witness(4).verifier()];
    assert_eq!(refused(&file, &Asked { keys: &[], witnesses: &absent }), Unproved::NotCosigned);
    // The name of a witness over another's signature.
    let line = |signer: &Signer| signer.verifier().to_string();
    assert_ne!(line(&witness(2)), line(&witness(3)));
    let proof = file["records"][0]["proof"].as_str().unwrap();
    let (head, last) = proof.trim_end().rsplit_once(' ').unwrap();
    let mut bytes = STANDARD.decode(last).unwrap();
    bytes[20] ^= 1;
    let mut forged = file.clone();
    forged["records"][0]["proof"] = format!("{head} {}\n", STANDARD.encode(bytes)).into();
    let third = [witness(3).verifier()];
    assert_eq!(refused(&forged, &Asked { keys: &[], witnesses: &third }), Unproved::FalseCosignature("w3".to_owned()));
}

#[test]
fn no_byte_of_record_path_or_signature_can_be_changed() {
    let good = file(&[]);
    let leaf = STANDARD.decode(good["records"][0]["leaf"].as_str().unwrap()).unwrap();
    for place in 0..leaf.len() {
        let mut changed = leaf.clone();
        changed[place] ^= 1;
        let mut bad = good.clone();
        bad["records"][0]["leaf"] = STANDARD.encode(changed).into();
        assert!(check(&bad.to_string(), &Asked::default()).is_err(), "byte {place} of the leaf");
    }
    let proof = good["records"][0]["proof"].as_str().unwrap();
    for (place, character) in proof.char_indices() {
        let other = if character == 'A' { 'B' } else { 'A' };
        let changed = format!("{}{other}{}", &proof[..place], &proof[place + character.len_utf8()..]);
        let mut bad = good.clone();
        bad["records"][0]["proof"] = changed.into();
        assert!(check(&bad.to_string(), &Asked::default()).is_err(), "place {place} of the proof");
    }
}

#[test]
fn what_is_no_file_of_proofs() {
    let good = file(&[]);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut file = good.clone();
        change(&mut file);
        refused(&file, &Asked::default())
    };
    assert_eq!(with(&|file| file["version"] = 2.into()), Unproved::File);
    assert_eq!(with(&|file| file["more"] = 2.into()), Unproved::File);
    assert_eq!(with(&|file| file["records"] = json!([])), Unproved::Empty);
    assert_eq!(with(&|file| file["request"] = "0190b6c2-3f5e-7abc-8def-0123456789ac".into()), Unproved::OtherRequest);
    assert_eq!(with(&|file| file["records"][0]["key"] = "x".into()), Unproved::Key);
    assert_eq!(with(&|file| file["records"][0]["key"] = witness(2).verifier().to_string().into()), Unproved::Key);
    assert_eq!(with(&|file| file["records"][0]["leaf"] = "AAAA".into()), Unproved::Leaf);
    assert!(matches!(with(&|file| file["records"][0]["proof"] = "x".into()), Unproved::Proof(_)));
    assert!(check("", &Asked::default()).is_err() && check("[]", &Asked::default()).is_err());
}
