//! A key from a passphrase: Argon2id (RFC 9106), slow and large on purpose.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use crate::secret::SecretKey;

/// What one derivation costs, and so what each guess costs somebody who has the salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassphraseCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes, each of which may be filled beside the others.
    pub lanes: u32,
}

/// The parameters are outside what this program derives with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Argon2id parameters outside 64 MiB to 1 GiB, 3 to 16 passes, 1 to 16 lanes")]
pub struct CostOutOfBounds;

impl PassphraseCost {
    /// The second recommended option of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes.
    pub const RFC_9106: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

    const MEMORY_KIB_MAX: u32 = 1024 * 1024;
    const PASSES_MAX: u32 = 16;
    const LANES_MAX: u32 = 16;

    /// Neither weaker than the recommendation, nor so large that a changed file exhausts the machine.
    fn within_bounds(self) -> bool {
        (Self::RFC_9106.memory_kib..=Self::MEMORY_KIB_MAX).contains(&self.memory_kib)
            && (Self::RFC_9106.passes..=Self::PASSES_MAX).contains(&self.passes)
            && (1..=Self::LANES_MAX).contains(&self.lanes)
    }
}

/// The length of a salt, as RFC 9106, section 4, recommends it.
pub const SALT_BYTES: usize = 16;

/// The key that belongs to `passphrase` and `salt`. Takes a good part of a second and the memory that `cost` says.
///
/// The caller wipes the passphrase.
///
/// # Errors
/// [`CostOutOfBounds`], before any memory is taken.
pub fn key_from_passphrase(
    passphrase: &[u8],
    salt: &[u8; SALT_BYTES],
    cost: PassphraseCost,
) -> Result<SecretKey, CostOutOfBounds> {
    if !cost.within_bounds() {
        return Err(CostOutOfBounds);
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(SecretKey::BYTES));
    let params = params.map_err(|_| CostOutOfBounds)?;
    let mut key = [0u8; SecretKey::BYTES];
    let derived = fill(&Argon2::new(Algorithm::Argon2id, Version::V0x13, params), passphrase, salt, &mut key);
    let secret = SecretKey::from_bytes(key);
    key.zeroize();
    derived.map_err(|_| CostOutOfBounds)?;
    Ok(secret)
}

/// With memory that is wiped afterwards: what it holds is as good as the passphrase for whoever reads it.
fn fill(argon2: &Argon2<'_>, passphrase: &[u8], salt: &[u8], out: &mut [u8]) -> Result<(), argon2::Error> {
    let mut memory = vec![Block::default(); argon2.params().block_count()];
    let filled = argon2.hash_password_into_with_memory(passphrase, salt, out, &mut memory);
    for block in &mut memory {
        block.zeroize();
    }
    filled
}

#[cfg(test)]
mod tests;
