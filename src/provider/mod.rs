//! The seam: all that the rest of the house knows of any store. A store has principals; each has the S3 rights that this operator
//! gave it, keys, and what is not as this operator left it. How a store says that, and does it, is known to its family alone,
//! which has a folder of its own (docs/decisions/providers.md).

pub mod answers;
pub mod aws;
pub mod clock;
pub mod connections;
mod dispatch;
pub mod error;
pub mod gate;
pub mod identity;
pub mod limits;
pub mod principal;
pub mod rate_limiter;
pub mod static_keys;

pub use dispatch::{Bound, Listed, Provider, Questions, bound, is_key_in, limits, moved, place};
pub use error::{Error, Kind};
pub use identity::Identity;
pub use limits::{Limits, Words};
pub use principal::{
    Brought, CreatedKey, Deviation, DeviationKind, ForeignOwner, Key, KeySource, Observed, Occupied, Owner, Place,
    Principal, PrincipalName, PrincipalSpec, Rights, StoredPolicy,
};
