//! Files from the web, in a cache that all processes of a user share.

mod bar;
mod cache;
mod download;
mod hub;
mod patience;

pub(crate) use self::{
    cache::{checksum, file_name, hexadecimal},
    download::{Downloads, Network},
    hub::{Hub, Repository, Version, is_repository},
};
