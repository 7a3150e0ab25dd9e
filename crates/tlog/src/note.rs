//! Signed notes: a text and the lines of those who signed it (C2SP signed-note).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::key::{VerifierKey, is_name};

/// The longest note that is read.
pub const MAX_NOTE_BYTES: usize = 64 * 1024;

/// The most signatures that a note may have.
pub const MAX_SIGNATURES: usize = 64;

/// The most bytes of one signature: room for those that are not ours.
const MAX_SIGNATURE_BYTES: usize = 8 * 1024;

/// Why a text is no note, or not one that somebody known has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`MAX_NOTE_BYTES`], or with more than [`MAX_SIGNATURES`] signatures.
    #[error("the note is too long")]
    TooLong,
    /// Not a text, an empty line and signature lines.
    #[error("not a signed note")]
    Malformed,
    /// None of its signatures is of the key that is asked for.
    #[error("the note is not signed with the key that was expected")]
    Unsigned,
    /// A signature that claims to be of the key is not.
    #[error("a signature of the note is not valid")]
    BadSignature,
}

/// A signature that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// When, in seconds since 1970, if it was a witness's: as the witness says.
    pub at_s: Option<u64>,
}

/// One signature line.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub id: [u8; 4],
    /// The signature itself, in the form that the key's kind gives it.
    pub bytes: Vec<u8>,
}

impl fmt::Display for NoteSignature {
    /// With its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\u{2014} {} {}", self.name, STANDARD.encode([&self.id[..], &self.bytes].concat()))
    }
}

impl fmt::Debug for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteSignature").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads one line without its newline.
fn signature_line(line: &str) -> Option<NoteSignature> {
    let (name, text) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    if !is_name(name) || text.len() > MAX_SIGNATURE_BYTES {
        return None;
    }
    let bytes = STANDARD.decode(text).ok()?;
    let (id, bytes) = bytes.split_first_chunk()?;
    (!bytes.is_empty()).then(|| NoteSignature { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
}

/// Reads signature lines by themselves: what a witness answers.
///
/// # Errors
/// [`NoteError`] if there is none, or anything else.
pub fn signature_lines(text: &str) -> Result<Vec<NoteSignature>, NoteError> {
    if text.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLong);
    }
    let lines = text.strip_suffix('\n').ok_or(NoteError::Malformed)?;
    if lines.split('\n').count() > MAX_SIGNATURES {
        return Err(NoteError::TooLong);
    }
    lines.split('\n').map(|line| signature_line(line).ok_or(NoteError::Malformed)).collect()
}

/// A text with signatures. Nothing of it is to be believed before [`Note::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Not empty, ends with a newline.
    text: String,
    /// At least one.
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// A text and its first signature; `None` if a note can't have that text.
    #[must_use]
    pub fn new(text: &str, signature: NoteSignature) -> Option<Self> {
        let note = Self { text: text.to_owned(), signatures: vec![signature] };
        note.to_string().parse().ok().filter(|read| *read == note)
    }

    /// The text that is signed, with its last newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, verified or not.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Puts a signature in: in place of an earlier one of the same key, or at the end. Says whether there was room.
    pub fn add(&mut self, signature: NoteSignature) -> bool {
        let same = |one: &&mut NoteSignature| one.name == signature.name && one.id == signature.id;
        if let Some(place) = self.signatures.iter_mut().find(same) {
            *place = signature;
            return true;
        }
        let room = self.signatures.len() < MAX_SIGNATURES
            && self.to_string().len().saturating_add(signature.to_string().len()) <= MAX_NOTE_BYTES;
        if room {
            self.signatures.push(signature);
        }
        room
    }

    /// Verifies the note with one key. Signatures of other keys are passed by.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`] if that key has not signed, [`NoteError::BadSignature`] if any line that claims so is false.
    pub fn verify(&self, key: &VerifierKey) -> Result<Signed, NoteError> {
        let mut found = None;
        for signature in self.signatures.iter().filter(|signature| key.made(signature)) {
            let signed = key.verify(&self.text, signature).ok_or(NoteError::BadSignature)?;
            found = found.or(Some(signed));
        }
        found.ok_or(NoteError::Unsigned)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| write!(f, "{signature}"))
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong);
        }
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::Malformed);
        }
        // The last empty line is the one that parts them.
        let blank = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, rest) = note.split_at_checked(blank.saturating_add(1)).ok_or(NoteError::Malformed)?;
        let signatures = signature_lines(rest.strip_prefix('\n').ok_or(NoteError::Malformed)?)?;
        Ok(Self { text: text.to_owned(), signatures })
    }
}
