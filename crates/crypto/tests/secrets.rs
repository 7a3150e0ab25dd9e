//! INVARIANT secrets-are-silent: no type that holds a secret can be printed, copied or compared.
//!
//! Checked by the compiler: each line below compiles only while the type lacks the trait. (Where a type has
//! it, two implementations of `Lacks` apply and the call is ambiguous.)

#![allow(dead_code, reason = "everything here is for the compiler")]

use countersign_crypto::{FieldKeys, KeyEncryptionKey, SealKey, SecretKey, TagKey, TenantKey, jws, ssh, x509};

macro_rules! lacks {
    ($($trait:path),+ => $types:tt) => { $( lacks!(@one $trait => $types); )+ };
    (@one $trait:path => [$($type:ty),+ $(,)?]) => { $( const _: fn() = || {
        trait Lacks<A> {
            fn check() {}
        }
        impl<T: ?Sized> Lacks<()> for T {}
        struct Has;
        impl<T: ?Sized + $trait> Lacks<Has> for T {}
        let _ = <$type as Lacks<_>>::check;
    }; )+ };
}

lacks!(std::fmt::Debug, std::fmt::Display, Clone, PartialEq, serde::Serialize => [
    SecretKey,
    SealKey,
    TagKey,
    FieldKeys,
    TenantKey,
    KeyEncryptionKey,
    jws::SigningKey,
    ssh::PrivateKey,
    x509::AuthorityParts,
    x509::CertificateAuthority,
    x509::ServerCertificate,
]);

#[test]
fn compiled() {}
