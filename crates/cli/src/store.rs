//! The store that a command line means.

use std::time::Duration;

use ambidex_config::{Environment, Loaded, StoreDurability, StoreUrl};
use ambidex_core::store::{FailureKind, StoreError};
use ambidex_engine::project::Project;
use ambidex_store::{Durability, OpenStore, Place};
use secrecy::ExposeSecret as _;

use crate::args::Common;
use crate::exit::Exit;
use crate::failure::Failure;

/// Runs and threads that one command forgets.
const TIDIED: usize = 100;

/// What the store is given to write its last. What was acknowledged is safe all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// The settings with `--db` over them.
pub fn with_db(common: &Common, db: Option<&str>) -> Common {
    let mut common = common.clone();
    if let Some(url) = db {
        common.overrides.push(format!("store.url={}", serde_json::Value::from(url)));
    }
    common
}

/// Where the configured store is; nothing for memory.
pub fn place(loaded: &Loaded, environment: &Environment) -> Result<Option<Place>, Failure> {
    match &loaded.config.store.url {
        StoreUrl::Memory => Ok(None),
        StoreUrl::Sqlite(path) => Ok(Some(Place::Sqlite(path.clone()))),
        StoreUrl::Postgres(url) => Ok(Some(Place::Postgres(url.clone()))),
        StoreUrl::Secret(secret) => {
            let fetched = secret.resolve(environment);
            let text = fetched.map_err(|error| Failure::new(Exit::ConfigInvalid, error.to_string()))?;
            let url = StoreUrl::parse(text.expose_secret(), &loaded.folder).map_err(|why| {
                let text = format!("store.url, from {}: {why}", secret.place());
                Failure::new(Exit::ConfigInvalid, text)
                    .help("write it as sqlite:PATH or postgres://user:password@host/database")
            })?;
            Ok(match url {
                StoreUrl::Sqlite(path) => Some(Place::Sqlite(path)),
                StoreUrl::Postgres(url) => Some(Place::Postgres(url)),
                StoreUrl::Memory | StoreUrl::Secret(_) => None,
            })
        }
    }
}

/// Opens the configured store; nothing for memory.
pub async fn open(loaded: &Loaded, environment: &Environment) -> Result<Option<OpenStore>, Failure> {
    match place(loaded, environment)? {
        Some(place) => open_at(&place, loaded).await.map(Some),
        None => Ok(None),
    }
}

pub async fn open_at(place: &Place, loaded: &Loaded) -> Result<OpenStore, Failure> {
    let durability = match loaded.config.store.durability {
        StoreDurability::Sync => Durability::Sync,
        StoreDurability::Batch => Durability::Batch,
        StoreDurability::None => Durability::None,
    };
    OpenStore::open(place, durability).await.map_err(failed)
}

/// Forgets a few of those runs and threads that are not to be kept. What is left is there for the next time.
pub async fn tidy(project: &Project) {
    // Where it fails, the next command tries again.
    drop(project.engine().tidy(TIDIED).await);
}

/// Lets go of a store that was opened.
pub async fn close(store: Option<OpenStore>) {
    if let Some(store) = store {
        // It goes on by itself where it takes longer.
        drop(tokio::time::timeout(PATIENCE, store.close()).await);
    }
}

pub fn failed(error: StoreError) -> Failure {
    match error {
        StoreError::Unavailable(failure) => {
            let exit = match failure.kind {
                FailureKind::Newer => Exit::ConfigInvalid,
                _ => Exit::Failed,
            };
            Failure::new(exit, format!("the store {}: {}", failure.place, failure.problem))
                .help(failure.remedy)
        }
        error => Failure::new(Exit::Failed, error.to_string()),
    }
}
