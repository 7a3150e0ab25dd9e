//! PROPERTY: of every text of a transparency log (note, checkpoint, request to a witness, proof, key, tile path) there is one
//! form: what is read and written again is the same, byte for byte. And a signed text opens only as it was signed.

use std::sync::LazyLock;

use countersign_crypto::SecretKey;
use countersign_crypto::note::NoteKey;
use countersign_tlog::{
    AddCheckpoint, Checkpoint, Hash, Levels, LogProof, Note, Seen, Signer, Tile, VerifierKey, consider, consistency,
    inclusion, root, signature_lines,
};

use super::mutant;
use crate::signature;

/// Pieces of logs' texts.
pub const WORDS: &[&str] = &[
    "@0",
    "@1",
    "@2",
    "@3",
    "\u{2014} ",
    "\n\n",
    "old 7\n",
    "index 7\n",
    "extra ",
    "c2sp.org/tlog-proof@v1\n",
    "fuzz.example/log",
    "+01020304+",
    "tile/0/x001/067",
    ".p/255",
    "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
];

const ORIGIN: &str = "fuzz.example/log";
const ENTRY: &[u8] = b"7";

struct Log {
    signer: Signer,
    seen: Seen,
    /// Checkpoint, request, proof, key.
    originals: Vec<String>,
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let key = |seed| NoteKey::from_seed(&SecretKey::from_bytes([seed; 32]));
    let signer = Signer::log(ORIGIN, key(1)).expect("a name");
    let witness = Signer::witness("fuzz.example/witness", key(2)).expect("a name");
    let levels = Levels::of((0u8..30).map(|index| Hash::leaf(index.to_string().as_bytes())));
    let at = |size| root(&levels, size).expect("within");
    let checkpoint = Checkpoint::new(ORIGIN, 30, at(30));
    let mut note: Note = checkpoint.sign(&signer).parse().expect("a note");
    note.add(witness.sign(note.text(), 1_800_000_000));
    let asked = AddCheckpoint {
        old_size: 21,
        proof: consistency(&levels, 21, 30).expect("within"),
        checkpoint: note.to_string(),
    };
    let path = inclusion(&levels, 7, 30).expect("within");
    let proof = LogProof { extra: Some(vec![1, 2, 3]), index: 7, path, checkpoint: note.to_string() };
    let originals = vec![note.to_string(), asked.to_text(), proof.to_text(), signer.verifier().to_string()];
    Log { seen: Seen { size: 21, root: at(21) }, signer, originals }
});

/// Runs the target: a text, or `@` and changes to one that is good.
pub fn run(data: &[u8]) -> u64 {
    let Some(text) = mutant(data, &LOG.originals) else { return 0 };
    let key = LOG.signer.verifier();
    let signed: Note = LOG.originals[0].parse().expect("a note");
    let mut taken = Vec::new();
    if let Ok(note) = text.parse::<Note>() {
        assert_eq!(note.to_string(), text, "a note has another form");
        taken.push("note");
        if let Ok((checkpoint, _)) = Checkpoint::open(&text, &key) {
            assert_eq!(note.text(), signed.text(), "a checkpoint opened that nobody signed");
            assert_eq!(checkpoint.to_text(), note.text());
            taken.push("checkpoint");
        }
    }
    if let Ok(checkpoint) = Checkpoint::from_text(&text) {
        assert_eq!(checkpoint.to_text(), text, "a checkpoint has another form");
        taken.push("checkpoint text");
    }
    if let Ok(asked) = AddCheckpoint::from_text(&text) {
        assert_eq!(asked.to_text(), text, "a request has another form");
        taken.push("request");
        match consider(&LOG.seen, &asked, &key) {
            Ok((checkpoint, _)) => assert_eq!(checkpoint.to_text(), signed.text(), "a witness took what nobody signed"),
            Err(refusal) => assert!(refusal.status() >= 400),
        }
    }
    if let Ok(proof) = LogProof::from_text(&text) {
        assert_eq!(proof.to_text(), text, "a proof has another form");
        taken.push("proof");
        if proof.verify(ENTRY, &key).is_ok() {
            assert_eq!(proof.index, 7, "an entry was proved to be elsewhere");
        }
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text, "a key has another form");
        taken.push("key");
    }
    if let Ok(tile) = text.parse::<Tile>() {
        assert_eq!(tile.to_string(), text, "a tile has another path");
        taken.push("tile");
    }
    if let Ok(lines) = signature_lines(&text) {
        assert_eq!(lines.iter().map(ToString::to_string).collect::<String>(), text, "lines have another form");
        taken.push("lines");
    }
    if let Ok(signer) = Signer::read(&text) {
        assert_eq!(signer.verifier().name(), signer.name());
        taken.push("private key");
    }
    signature::of(&taken.join(","))
}
