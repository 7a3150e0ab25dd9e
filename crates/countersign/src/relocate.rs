//! Carrying a deployment from its folder into PostgreSQL, or back, while it is used.
//!
//! 1. Records are copied, tenant by tenant and type by type, and then all of them compared with what they were copied
//!    from, while requests go on where they are; which records change meanwhile is noted.
//! 2. What was noted is carried, again and again until it is little.
//! 3. Requests wait. What there was is closed, so that nothing of it changes any more; the last records, facts and keys,
//!    budgets and ledgers are carried and compared; the configuration file is replaced; the deployment is opened where it is
//!    now; requests go on.
//!
//! INVARIANT one-in-charge: which of both places a deployment is in is said by its configuration file, which is replaced by
//! one rename, after all that is in the old place is in the new one. Until then nobody is answered from the new place, and
//! afterwards nobody from the old one; so a move that is cut off, wherever, is begun again or is over.
//!
//! Every record is compared in full, on both sides, after its last change: those that were stored in the first pass in the
//! second, those that changed since when they are carried.

mod files;
mod last;
mod pass;
mod rewrite;
mod served;
mod stopped;

pub(crate) use self::files::{At, Goal, Phase, Wish, replace};
pub(crate) use self::last::{MOVED, first, last};
pub(crate) use self::pass::{Passes, since};
pub(crate) use self::rewrite::configure;
pub(crate) use self::served::follow;
pub(crate) use self::stopped::stopped;
