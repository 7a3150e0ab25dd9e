//! Bounds on what a message makes of its bytes, checked before it is decoded.
//!
//! Two bytes can stand for an empty embedded message that takes hundreds when decoded, and a peer may be taken over.
//! So the bytes are gone through once, by the descriptors of the messages: what they would take in memory is added up
//! and how deep they nest is counted, and nothing is allocated.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

use crate::DESCRIPTORS;

/// How much a decoded message may take, in bytes.
pub(crate) const MEMORY_MAX: usize = 256 * 1024 * 1024;
/// How deep messages may nest: 32 filters or embeds, each of up to three messages, and what is around them.
const DEPTH_MAX: usize = 100;
/// What one element of a list of texts or bytes takes, and any other field.
const FIELD_BYTES: usize = 32;

/// The bytes are not a message within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfBounds;

/// A kind of message, by its place in [`Shapes`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape(usize);

/// Which field of which message is itself a message.
struct Shapes {
    names: HashMap<String, usize>,
    messages: Vec<MessageShape>,
}

#[derive(Default)]
struct MessageShape {
    memory_bytes: usize,
    /// By field number; those of our messages are small.
    inside: Vec<Option<usize>>,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| Shapes::read(DESCRIPTORS));

impl Shapes {
    /// From the descriptor set that is part of this program. Should it be unreadable, no message is known and every
    /// one is refused.
    fn read(descriptors: &[u8]) -> Self {
        let files = FileDescriptorSet::decode(descriptors).unwrap_or_default();
        let all: Vec<_> = files
            .file
            .iter()
            .flat_map(|file| file.message_type.iter().map(move |message| (file.package(), message)))
            .map(|(package, message)| (format!("{package}.{}", message.name()), message))
            .collect();
        let names: HashMap<_, _> = all.iter().enumerate().map(|(index, (name, _))| (name.clone(), index)).collect();
        let messages = all
            .iter()
            .map(|(_, message)| {
                let mut shape = MessageShape { memory_bytes: memory_bytes(message.name()), inside: Vec::new() };
                for field in message.field.iter().filter(|field| field.r#type() == Type::Message) {
                    let number = usize::try_from(field.number()).unwrap_or_default();
                    if shape.inside.len() <= number {
                        shape.inside.resize(number.saturating_add(1), None);
                    }
                    if let Some(slot) = shape.inside.get_mut(number) {
                        *slot = names.get(field.type_name().trim_start_matches('.')).copied();
                    }
                }
                shape
            })
            .collect();
        Self { names, messages }
    }
}

/// What a decoded message takes, itself; at least (a test holds this against the generated types).
pub(crate) fn memory_bytes(name: &str) -> usize {
    match name {
        // What there can rightly be very many of.
        "NamedInput" | "Cell" | "FieldTag" | "InputRow" | "SealedRow" | "Requirement" | "Text" => 96,
        "Change" | "Filter" | "Test" => 128,
        _ => 384,
    }
}

impl Shape {
    /// The shape of the message of this full name.
    pub(crate) fn of(full_name: &str) -> Option<Self> {
        SHAPES.names.get(full_name).copied().map(Self)
    }
}

/// Whether `bytes`, read as a message of this shape, stay within the bounds.
pub(crate) fn skim(shape: Shape, bytes: &[u8]) -> Result<(), OutOfBounds> {
    let mut memory_left = MEMORY_MAX;
    message(&SHAPES, shape.0, bytes, DEPTH_MAX, &mut memory_left)
}

fn message(
    shapes: &Shapes,
    index: usize,
    mut bytes: &[u8],
    depth_left: usize,
    memory_left: &mut usize,
) -> Result<(), OutOfBounds> {
    let deeper = depth_left.checked_sub(1).ok_or(OutOfBounds)?;
    let shape = shapes.messages.get(index).ok_or(OutOfBounds)?;
    spend(memory_left, shape.memory_bytes)?;
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        match tag & 7 {
            0 => {
                varint(&mut bytes)?;
                spend(memory_left, FIELD_BYTES)?;
            }
            1 => skip(&mut bytes, 8)?,
            5 => skip(&mut bytes, 4)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| OutOfBounds)?;
                let (content, rest) = bytes.split_at_checked(length).ok_or(OutOfBounds)?;
                bytes = rest;
                let number = usize::try_from(tag >> 3).map_err(|_| OutOfBounds)?;
                match shape.inside.get(number).copied().flatten() {
                    Some(inside) => message(shapes, inside, content, deeper, memory_left)?,
                    None => spend(memory_left, length.saturating_add(FIELD_BYTES))?,
                }
            }
            // Groups: none of our messages has any.
            _ => return Err(OutOfBounds),
        }
    }
    Ok(())
}

fn spend(left: &mut usize, bytes: usize) -> Result<(), OutOfBounds> {
    *left = left.checked_sub(bytes).ok_or(OutOfBounds)?;
    Ok(())
}

fn skip(bytes: &mut &[u8], count: usize) -> Result<(), OutOfBounds> {
    *bytes = bytes.get(count..).ok_or(OutOfBounds)?;
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, OutOfBounds> {
    let mut value = 0u64;
    for place in 0..10u32 {
        let (&byte, rest) = bytes.split_first().ok_or(OutOfBounds)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << place.wrapping_mul(7);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(OutOfBounds)
}

#[cfg(test)]
mod tests;
