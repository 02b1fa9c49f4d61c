//! Puts a broker together from its configuration.

use std::{
    fs::DirBuilder,
    io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::SystemTime,
};

use carillon_listener::{
    Gate, Listener,
    gate::Rules,
    tls::{Reread, Tls, TlsError},
};
use carillon_metrics::{BrokerMetrics, ExportError, Exporter, ReloadResult, ShardMetrics};
use carillon_streams::keeper::RedefineError;
use tokio::sync::oneshot;

use super::{clients, files, streams};
use crate::{
    access::{self, Fetchers, Loaded},
    admin::{self, AdminListener, NotReady, Readiness},
    certs::{self, DevCertificates, MakeError},
    config::{self, Access, Admin, Config, ConfigError, Secret, Sources, check_token},
    dev::dev_dir,
};

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("the development certificates cannot be made: {0}")]
    Dev(#[from] MakeError),
    #[error("data_dir {} cannot be used: {source}", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error("the files of [{section}] cannot be used: {source}")]
    Tls { section: &'static str, source: Box<TlsError> },
    #[error("admin.token_file {}: {message}", path.display())]
    TokenFile { path: PathBuf, message: String },
    #[error(transparent)]
    Access(#[from] ConfigError),
    #[error(transparent)]
    Metrics(#[from] ExportError),
    #[error(transparent)]
    Admin(#[from] admin::StartError),
    #[error(transparent)]
    Streams(#[from] streams::OpenError),
    #[error(transparent)]
    Redefine(#[from] RedefineError),
    #[error(transparent)]
    Listener(#[from] carillon_listener::StartError),
}

impl StartError {
    /// Whether the configuration, or a file that it names, is at fault.
    pub(super) fn is_usage(&self) -> bool {
        match self {
            Self::Tls { .. } | Self::TokenFile { .. } | Self::DataDir { .. } | Self::Access(_) | Self::Redefine(_) => {
                true
            }
            Self::Streams(error) => error.is_usage(),
            Self::Dev(_) | Self::Metrics(_) | Self::Admin(_) | Self::Listener(_) => false,
        }
    }
}

/// A broker that serves.
pub(super) struct Broker {
    listener: Listener,
    admin: AdminListener,
    readiness: Arc<Readiness>,
    metrics: Arc<BrokerMetrics>,
    tls: Tls,
    admin_tls: Option<Tls>,
    /// What is in force, and where it is read again.
    config: Config,
    sources: Sources,
    fetchers: Fetchers,
}

/// What was read again, and is not in use yet.
struct Again {
    config: Config,
    /// The keys that have changed, and need a restart.
    unheeded: Vec<String>,
    access: Loaded,
    tls: Reread,
    admin_tls: Option<Reread>,
}

impl Broker {
    pub(super) fn start(config: &Config, sources: Sources) -> Result<Self, StartError> {
        make_dev_certificates(config)?;
        if let Some(path) = &config.data_dir {
            use_data_dir(path).map_err(|source| StartError::DataDir { path: path.clone(), source })?;
        }
        let (tls, admin_tls, token) = (client_tls(config)?, admin_tls(&config.admin)?, admin_token(&config.admin)?);
        let access = access_rules(&config.access)?;

        for warning in files::warnings(config, &sources) {
            tracing::warn!("{warning}");
        }
        let settings = config.settings();
        let metrics = Arc::new(BrokerMetrics::new(env!("CARGO_PKG_VERSION"), config.limits_by_name()));
        note_certificate_end(&metrics, &tls);
        clients::note(&metrics, &tls, &config.origins, access.has_certificate_rules, SystemTime::now());
        let shards: Vec<_> = (0..config.listen.shards.count()).map(|_| Arc::new(ShardMetrics::default())).collect();
        let readiness = Arc::new(Readiness::starting(Arc::clone(&metrics)));
        let instruments = streams::Instruments::new(&config.stream_settings(), shards.len());
        let (counted, store) = (instruments.streams.clone(), instruments.store.clone());
        let exporter = Exporter::with_streams(Arc::clone(&metrics), shards.clone(), counted, store)?;

        let admin = admin::Settings { tls: admin_tls.clone(), token, ..admin::Settings::new(config.admin.address) };
        let admin = AdminListener::start(admin, exporter, Arc::clone(&readiness))?;
        let gate = Arc::new(Gate::new(Rules::default()));
        let mut fetchers = Fetchers::new(Arc::clone(&gate), Arc::clone(&metrics));
        let quotas = Arc::new(config.quotas.scopes(&access.role_quotas));
        let rules = Rules { client_verifier: tls.client_verifier(), quotas, ..access.rules };
        fetchers.put_in_force(rules, access.sources);
        let (opened, counting) =
            streams::open(config, &instruments, &readiness)?.map(|open| (open.streams, open.counting)).unzip();
        let listener = Listener::start(settings, &tls, &gate, Arc::clone(&metrics), &shards, opened)?;
        if let Some((keeper, counting)) = listener.keeper().zip(counting) {
            counting.watch_reads(Arc::clone(keeper.read_counts()));
        }
        admin.serve_streams(listener.keeper().cloned());
        readiness.clear(&NotReady::Starting);
        Ok(Self { listener, admin, readiness, metrics, tls, admin_tls, config: config.clone(), sources, fetchers })
    }

    /// Where clients connect, with the port that was taken.
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Where operators ask, with the port that was taken.
    pub(super) fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Serves the page at `/watch`, for development.
    pub(super) fn offer_watch(&self) {
        self.admin.offer_watch(self.address());
    }

    /// Reads the configuration for who may do what and how much, and how much streams keep, certificates with their keys, the
    /// access file with its keys, and the revocations again. Either all of it is good and holds from now on, for those who are connected too,
    /// or all stays as it was. It does not wait for the keys of issuers that have them at a URL.
    pub(super) fn reload(&mut self) {
        let read = self.read_again();
        // Counted before it is told, so that whoever reads the log finds the count.
        match read {
            Ok(again) => {
                self.put_in_force(again);
                self.metrics.config_reloads.of(ReloadResult::Ok).inc();
                tracing::info!(
                    "certificates, keys, access rules, quotas, revocations and what streams keep were read again"
                );
            }
            Err(error) => {
                self.metrics.config_reloads.of(ReloadResult::Failed).inc();
                tracing::error!(%error, "not everything could be read again; the old ones stay in use");
            }
        }
    }

    fn put_in_force(&mut self, again: Again) {
        let Again { config, unheeded, access, tls, admin_tls } = again;
        self.config = config;
        self.metrics.set_limits(self.config.limits_by_name());
        self.tls.use_reread(tls);
        if let Some((tls, reread)) = self.admin_tls.as_ref().zip(admin_tls) {
            tls.use_reread(reread);
        }
        note_certificate_end(&self.metrics, &self.tls);
        let (origins, now) = (&self.config.origins, SystemTime::now());
        clients::note(&self.metrics, &self.tls, origins, access.has_certificate_rules, now);
        let quotas = Arc::new(self.config.quotas.scopes(&access.role_quotas));
        let rules = Rules { client_verifier: self.tls.client_verifier(), quotas, ..access.rules };
        self.fetchers.put_in_force(rules, access.sources);
        self.redefine_streams();
        if !unheeded.is_empty() {
            let keys = unheeded.join(", ");
            tracing::warn!(keys, "these have changed in the configuration, and are heeded after a restart only");
        }
        for warning in self.config.stream_warnings() {
            tracing::warn!("{warning}");
        }
    }

    /// Whatever can fail comes before what cannot be taken back.
    fn read_again(&self) -> Result<Again, StartError> {
        let wrong = |section| move |error: TlsError| StartError::Tls { section, source: Box::new(error) };
        let (config, unheeded) = config::load_again(&self.sources, &self.config)?;
        if let Some(keeper) = self.listener.keeper() {
            keeper.check_redefine(&config.stream_settings().definitions)?;
        }
        Ok(Again {
            access: access_rules(&config.access)?,
            config,
            unheeded,
            tls: self.tls.read_again().map_err(wrong("tls"))?,
            admin_tls: self.admin_tls.as_ref().map(Tls::read_again).transpose().map_err(wrong("admin"))?,
        })
    }

    /// It was checked before anything was put in force.
    fn redefine_streams(&self) {
        let Some(keeper) = self.listener.keeper() else { return };
        if let Err(error) = keeper.redefine(self.config.stream_settings().definitions) {
            tracing::error!(%error, "streams keep what they kept before");
        }
    }

    /// Takes no new connections, tells clients when to come back, and flushes, within the configured deadline. The admin
    /// listener answers until the end.
    pub(super) async fn drain(self) {
        self.readiness.raise(NotReady::Draining);
        let (done, drained) = oneshot::channel();
        let listener = self.listener;
        // A thread and not the runtime's blocking pool: that one would make a second signal wait for it.
        let draining = thread::Builder::new().name("drain".to_owned()).spawn(move || {
            listener.drain();
            let _ = done.send(());
        });
        match draining {
            Ok(_) => {
                // An error means that the thread panicked, which the panic hook has told.
                let _ = drained.await;
            }
            Err(error) => tracing::error!(%error, "no thread to drain with; clients are left without a word"),
        }
        drop(self.admin);
    }
}

/// Makes the development certificates where the configuration leads to them, as `--dev` alone makes it do.
fn make_dev_certificates(config: &Config) -> Result<(), MakeError> {
    let directory = dev_dir();
    let files = DevCertificates::in_directory(&directory);
    if config.tls.certificate.as_deref() == Some(&files.certificate) && config.tls.key.as_deref() == Some(&files.key) {
        DevCertificates::ensure(&directory, SystemTime::now())?;
    }
    Ok(())
}

fn use_data_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn client_tls(config: &Config) -> Result<Tls, StartError> {
    clients::tls(&config.tls).map_err(|source| StartError::Tls { section: "tls", source: Box::new(source) })
}

fn admin_tls(admin: &Admin) -> Result<Option<Tls>, StartError> {
    let (Some(certificate), Some(key)) = (&admin.certificate, &admin.key) else { return Ok(None) };
    Tls::from_files(certificate, key)
        .map(Some)
        .map_err(|source| StartError::Tls { section: "admin", source: Box::new(source) })
}

fn admin_token(admin: &Admin) -> Result<Option<Secret>, StartError> {
    let Some(path) = &admin.token_file else { return Ok(admin.token.clone()) };
    let wrong = |message: String| StartError::TokenFile { path: path.clone(), message };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let token = text.trim();
    check_token(token).map_err(wrong)?;
    Ok(Some(Secret::new(token)))
}

/// Reads who may do what, and logs what should be looked at.
fn access_rules(access: &Access) -> Result<Loaded, ConfigError> {
    let loaded = access::load(access)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded)
}

fn note_certificate_end(metrics: &BrokerMetrics, tls: &Tls) {
    let chain = tls.chain();
    let summary = chain.first().and_then(|certificate| certs::summarize(certificate, 1).ok());
    let seconds = summary.map_or(0, |summary| summary.not_after_seconds());
    metrics.certificate_not_after_seconds.set(i64::try_from(seconds).unwrap_or(i64::MAX));
}
