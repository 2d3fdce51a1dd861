//! TLS settings: rustls with ring, the platform's roots, optionally a CA file.

use std::{fmt, path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::sync::OnceCell;

use crate::error::{HttpError, HttpErrorKind};

/// Which certificates are trusted. Cheap to clone; clones share the loaded roots and the session
/// cache, so give one value to all clients. Roots are loaded at the first https connection.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    own: Vec<CertificateDer<'static>>,
    platform: bool,
    loaded: OnceCell<Loaded>,
}

struct Loaded {
    http1: Arc<ClientConfig>,
    http1_or_2: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts the platform's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are obeyed), or Mozilla's
    /// where the platform has none.
    pub fn platform() -> Self {
        Self::of(Vec::new(), true)
    }

    /// Trusts the certificates of a PEM file besides the platform's roots.
    ///
    /// # Errors
    /// [`HttpErrorKind::Configuration`] when the file cannot be read or has no certificate.
    pub fn with_ca_file(path: impl AsRef<Path>) -> Result<Self, HttpError> {
        Ok(Self::of(read_pem(path.as_ref())?, true))
    }

    /// Trusts the certificates of a PEM file and no others.
    ///
    /// # Errors
    /// As [`with_ca_file`](Self::with_ca_file).
    pub fn with_ca_file_only(path: impl AsRef<Path>) -> Result<Self, HttpError> {
        Ok(Self::of(read_pem(path.as_ref())?, false))
    }

    fn of(own: Vec<CertificateDer<'static>>, platform: bool) -> Self {
        Self(Arc::new(Inner { own, platform, loaded: OnceCell::new() }))
    }

    pub(crate) async fn config(&self, http2: bool) -> Result<Arc<ClientConfig>, HttpError> {
        let loaded = match self.0.loaded.get() {
            Some(loaded) => loaded,
            None => self.0.loaded.get_or_try_init(|| self.load()).await?,
        };
        Ok(if http2 { loaded.http1_or_2.clone() } else { loaded.http1.clone() })
    }

    /// Reading some 150 files is blocking work.
    async fn load(&self) -> Result<Loaded, HttpError> {
        let inner = self.0.clone();
        let loaded = tokio::task::spawn_blocking(move || inner.build()).await;
        loaded.map_err(|error| {
            HttpError::new(HttpErrorKind::Tls, "loading the trusted certificates was interrupted")
                .because(error)
        })?
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::platform()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("own_certificates", &self.0.own.len())
            .field("platform_roots", &self.0.platform)
            .finish()
    }
}

impl Inner {
    fn build(&self) -> Result<Loaded, HttpError> {
        let mut roots = RootCertStore::empty();
        if self.platform {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
        for certificate in &self.own {
            roots.add(certificate.clone()).map_err(|error| {
                let message = format!("a certificate of the CA file cannot be used ({error})");
                HttpError::new(HttpErrorKind::Configuration, message)
            })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut http1 = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpError::new(HttpErrorKind::Configuration, format!("TLS: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http1_or_2 = http1.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        http1_or_2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Loaded { http1: Arc::new(http1), http1_or_2: Arc::new(http1_or_2) })
    }
}

fn read_pem(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let failed = |problem: String| {
        HttpError::new(HttpErrorKind::Configuration, format!("CA file {}: {problem}", path.display()))
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => {
            Err(failed("no certificate in it; expected PEM blocks `BEGIN CERTIFICATE`".to_owned()))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(failed(format!("cannot be read ({error})"))),
    }
}
