//! Where a store is, in the words of Python and of `[store]`.

use ambidex_config::{Environment, Loaded, StoreDurability, StoreUrl};
use ambidex_core::{Error, ErrorKind};
use ambidex_store::{Durability, Place};
use secrecy::ExposeSecret as _;

/// A place and what is promised there. Without a place, in memory.
#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) place: Option<Place>,
    pub(crate) durability: Durability,
}

impl Location {
    /// As `ax.open` takes it; paths are relative to the working directory.
    ///
    /// # Errors
    /// `config_invalid`: it is no URL of a store, or no durability.
    pub(crate) fn parse(url: &str, durability: Option<&str>) -> Result<Self, Error> {
        let invalid = |text: String| Error::new(ErrorKind::ConfigInvalid, text);
        let durability = durability.map(str::parse).transpose().map_err(|why: String| invalid(why))?;
        let folder = std::env::current_dir().unwrap_or_default();
        let url = StoreUrl::parse(url, &folder).map_err(|why| invalid(format!("ax.open: {why}; {HOW}")))?;
        Ok(Self { place: place_of(url), durability: durability.unwrap_or_default() })
    }

    /// As it is configured.
    ///
    /// # Errors
    /// `config_invalid`: its secret cannot be read, or is no URL of a store.
    pub(crate) fn configured(loaded: &Loaded, environment: &Environment) -> Result<Self, Error> {
        let invalid = |text: String| Error::new(ErrorKind::ConfigInvalid, text);
        let store = &loaded.config.store;
        let url = match &store.url {
            StoreUrl::Secret(secret) => {
                let text = secret.resolve(environment).map_err(|error| invalid(error.to_string()))?;
                let url = StoreUrl::parse(text.expose_secret(), &loaded.folder);
                url.map_err(|why| invalid(format!("store.url, from {}: {why}; {HOW}", secret.place())))?
            }
            url => url.clone(),
        };
        let durability = match store.durability {
            StoreDurability::Sync => Durability::Sync,
            StoreDurability::Batch => Durability::Batch,
            StoreDurability::None => Durability::None,
        };
        Ok(Self { place: place_of(url), durability })
    }
}

const HOW: &str = "write it as memory:, sqlite:PATH or postgres://user:password@host/database";

fn place_of(url: StoreUrl) -> Option<Place> {
    match url {
        StoreUrl::Sqlite(path) => Some(Place::Sqlite(path)),
        StoreUrl::Postgres(url) => Some(Place::Postgres(url)),
        StoreUrl::Memory | StoreUrl::Secret(_) => None,
    }
}
