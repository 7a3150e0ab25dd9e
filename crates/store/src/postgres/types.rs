//! The record types in force, and the texts of their statements.

use std::sync::Arc;

use countersign_model::TypeId;

use super::sql::{self, Text};
use crate::error::StoreError;
use crate::layout::Layout;
use crate::texts::Texts;

/// Record types, with what was made of them. Others have texts of their own.
#[derive(Default)]
pub(super) struct Types {
    pub(super) layout: Layout,
    texts: Texts<Text>,
}

impl Types {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, texts: Texts::default() }
    }

    /// The text of a statement about records of a type.
    pub(super) fn text(&self, record_type: TypeId, of: Text) -> Result<Arc<str>, StoreError> {
        let layout = self.layout.record_type(record_type)?;
        Ok(self.texts.of(of, |of| sql::text(of, layout)))
    }
}
