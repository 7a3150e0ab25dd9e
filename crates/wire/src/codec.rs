//! How messages become bytes: as prost says, within the bounds of [`crate::skim`].

use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::skim::{Shape, skim};

/// The codec of every one of our services.
#[derive(Debug)]
pub(crate) struct Bounded<Out, In>(PhantomData<(Out, In)>);

impl<Out, In> Default for Bounded<Out, In> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Out: Message + 'static, In: Message + Name + Default + 'static> Codec for Bounded<Out, In> {
    type Encode = Out;
    type Decode = In;
    type Encoder = BoundedEncoder<Out>;
    type Decoder = BoundedDecoder<In>;

    fn encoder(&mut self) -> Self::Encoder {
        BoundedEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder { shape: Shape::of(&In::full_name()), message: PhantomData }
    }
}

/// Most messages are a token and a small request; larger ones make their buffer grow once.
const SETTINGS: (usize, usize) = (2 * 1024, 64 * 1024);

/// See [`Bounded`].
#[derive(Debug)]
pub(crate) struct BoundedEncoder<Out>(PhantomData<Out>);

impl<Out: Message> Encoder for BoundedEncoder<Out> {
    type Item = Out;
    type Error = Status;

    fn encode(&mut self, item: Out, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode(buffer).map_err(|_| Status::internal("the message can't be encoded"))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(SETTINGS.0, SETTINGS.1)
    }
}

/// See [`Bounded`].
#[derive(Debug)]
pub(crate) struct BoundedDecoder<In> {
    shape: Option<Shape>,
    message: PhantomData<In>,
}

impl<In: Message + Default> Decoder for BoundedDecoder<In> {
    type Item = In;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<In>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        within(self.shape, bytes).map(Some).ok_or_else(|| Status::invalid_argument("the message can't be read"))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(SETTINGS.0, SETTINGS.1)
    }
}

/// Decodes a message that travels inside another one as bytes.
pub(crate) fn decode<In: Message + Name + Default>(bytes: Bytes) -> Option<In> {
    within(Shape::of(&In::full_name()), bytes)
}

fn within<In: Message + Default>(shape: Option<Shape>, bytes: Bytes) -> Option<In> {
    skim(shape?, &bytes).ok()?;
    In::decode(bytes).ok()
}
