//! Files from the web into the cache: resumed, tried again, and never half there.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use ureq::{
    Agent, Body,
    http::{HeaderMap, Response, StatusCode, header},
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};

use super::{
    bar::Bar,
    cache::{About, Cache, Entry},
    patience::{Patience, asked},
};
use crate::console::{Console, Hint};

/// How files are downloaded.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Network {
    /// Keep downloads in DIR [default: `nmt` in the user's cache folder]
    #[arg(long, value_name = "DIR", help_heading = "Network")]
    cache: Option<PathBuf>,

    /// Use what the cache holds, and no network
    #[arg(long, help_heading = "Network")]
    offline: bool,

    /// Trust the certificates in FILE (PEM) instead of the system's
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    ca_file: Option<PathBuf>,

    /// Give a connection up when nothing comes for so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    #[arg(help_heading = "Network")]
    timeout: Duration,

    /// Give up after so many failures in a row
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Network")]
    retries: u32,

    /// Wait about so many seconds after the first failure, and twice as long after each other
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds, hide = true)]
    first_wait: Duration,
}

/// Most bytes of a file.
const LARGEST: u64 = 64 << 30;
/// With so many more bytes, an attempt that failed was no failure.
const PROGRESS: u64 = 1 << 20;
/// The longest wait that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(600);
const REDIRECTS: u32 = 10;
const BUFFER: usize = 1 << 16;

/// Downloads into a cache.
pub(crate) struct Downloads<'a> {
    network: Network,
    cache: Cache,
    agent: Agent,
    console: &'a Console,
    hub: Option<HubAccess>,
}

/// How the Hub is asked.
struct HubAccess {
    /// Its address.
    endpoint: String,
    /// What says who asks. It goes to that address alone, and nowhere that leads from there.
    token: Option<String>,
}

impl Network {
    /// The same, without a network.
    pub(super) fn offline(self) -> Self {
        Self { offline: true, ..self }
    }
}

/// Why an attempt failed.
enum Failure {
    /// It will fail again.
    Final(anyhow::Error),
    /// It may succeed later; the server may have said when.
    Again(anyhow::Error, Option<Duration>),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Final(error)
    }
}

/// An attempt that may succeed later.
fn again(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Again(error.into(), None)
}

impl<'a> Downloads<'a> {
    /// Downloads as the options say; proxies are those of the environment.
    pub(crate) fn new(network: Network, console: &'a Console) -> anyhow::Result<Self> {
        let roots = match &network.ca_file {
            Some(path) => certificates(path)?,
            None => RootCerts::PlatformVerifier,
        };
        let timeout = Some(network.timeout);
        let agent = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .user_agent(concat!("nmt/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .build()
            .new_agent();
        Ok(Self { cache: Cache::new(network.cache.clone())?, network, agent, console, hub: None })
    }

    /// Downloads from the Hub.
    pub(super) fn of_hub(
        network: Network,
        console: &'a Console,
        endpoint: &str,
        token: Option<String>,
    ) -> anyhow::Result<Self> {
        let hub = Some(HubAccess { endpoint: endpoint.to_owned(), token });
        Ok(Self { hub, ..Self::new(network, console)? })
    }

    /// Where files are kept.
    pub(super) fn dir(&self) -> &Path {
        self.cache.dir()
    }

    /// The file at `url`, as it is now.
    pub(crate) fn get_again(&self, url: &str) -> anyhow::Result<PathBuf> {
        self.obtain(url, false)
    }

    /// The file at `url`: from the cache, or downloaded into it.
    pub(crate) fn get(&self, url: &str) -> anyhow::Result<PathBuf> {
        self.obtain(url, true)
    }

    /// The file at `url`; what the cache holds may count even if there is a network.
    fn obtain(&self, url: &str, cached: bool) -> anyhow::Result<PathBuf> {
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            bail!("{url} is not an address that begins with https:// or http://");
        }
        let entry = self.cache.entry(url);
        if self.network.offline {
            let found = entry.complete(self.console)?;
            return found
                .with_context(|| format!("the cache does not hold {url}"))
                .hint("download it once without `--offline`, or choose another `--cache`");
        }
        let _lock = entry.lock(self.console)?;
        if !cached {
            entry.forget();
        } else if let Some(path) = entry.complete(self.console)? {
            self.console.note("cached", url);
            return Ok(path);
        }
        self.download(&entry)?;
        entry.finish()
    }

    /// Removes a file that turned out to be wrong from the cache.
    pub(crate) fn forget(&self, url: &str) {
        if !self.network.offline {
            self.cache.entry(url).forget();
        }
    }

    /// Attempts until the whole file is here.
    fn download(&self, entry: &Entry) -> anyhow::Result<()> {
        let mut patience = Patience::new(self.network.first_wait);
        let mut failures = 0;
        loop {
            let before = entry.len();
            let (error, asked) = match self.attempt(entry) {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(error, asked)) => (error, asked),
            };
            failures = if entry.len() >= before + PROGRESS { 1 } else { failures + 1 };
            let wait = asked.unwrap_or_default().max(patience.wait(failures));
            if failures > self.network.retries || wait > LONGEST_ASKED {
                let error = match asked {
                    Some(wait) => error.context(format!("asked to wait {} s", wait.as_secs())),
                    None => error,
                };
                return Err(error.context(format!("cannot download {}", entry.url)))
                    .hint("run it again later: it goes on where it stopped, if the server can");
            }
            let wait_s = wait.as_secs_f64();
            self.console.note("retry", format_args!("{error:#} · again in {wait_s:.1} s"));
            thread::sleep(wait);
        }
    }

    /// Asks for what is missing, and appends it to what is here.
    fn attempt(&self, entry: &Entry) -> Result<(), Failure> {
        let about = entry.about();
        let known = about.validator.clone().filter(|_| about.url == entry.url && entry.len() > 0);
        let request = self.agent.get(&entry.url).config();
        let mut request = request.https_only(entry.url.starts_with("https://")).build();
        if let Some(token) = self.token(&entry.url) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(validator) = &known {
            request = request.header(header::RANGE, format!("bytes={}-", entry.len()));
            request = request.header(header::IF_RANGE, validator);
        }
        let response = request.call().map_err(|error| refused(&entry.url, error))?;
        let headers = response.headers();
        let (start, total) = match response.status() {
            StatusCode::OK => (0, number(headers, header::CONTENT_LENGTH)),
            StatusCode::PARTIAL_CONTENT => match range(headers) {
                Some((start, total)) if known.is_some() && start == entry.len() => {
                    if total.is_some() && about.bytes.is_some() && total != about.bytes {
                        return Err(start_over(entry, "the file changed on the server"));
                    }
                    (start, total.or(about.bytes))
                }
                _ => return Err(start_over(entry, "the server sent another part than asked for")),
            },
            StatusCode::RANGE_NOT_SATISFIABLE if known.is_some() => {
                let end = format!("bytes */{}", entry.len());
                if text(headers, header::CONTENT_RANGE) == Some(&end) {
                    return Ok(()); // all was here already
                }
                return Err(start_over(entry, "the file on the server became shorter"));
            }
            status => return Err(self.denied(&entry.url, status, headers)),
        };
        if total.is_some_and(|total| total > LARGEST) {
            return Err(anyhow!("{} has more than {LARGEST} bytes", entry.url).into());
        }
        if start == 0 {
            let url = entry.url.clone();
            entry.describe(&About {
                url,
                validator: validator(headers),
                bytes: total,
                sha256: None,
            })?;
        }
        self.receive(entry, response, start, total)
    }

    /// What says who asks, if that is to be told at this address.
    fn token(&self, url: &str) -> Option<&str> {
        let HubAccess { endpoint, token } = self.hub.as_ref()?;
        let rest = url.strip_prefix(endpoint.as_str())?;
        token.as_deref().filter(|_| rest.starts_with('/'))
    }

    /// Why the response holds no file.
    fn denied(&self, url: &str, status: StatusCode, headers: &HeaderMap) -> Failure {
        let on_hub = self.hub.as_ref().map(|hub| hub.token.is_some());
        let hint = match (status.as_u16(), on_hub) {
            (408 | 429 | 500 | 502..=504, _) => {
                let asked = text(headers, header::RETRY_AFTER).and_then(asked);
                return Failure::Again(anyhow!("the server answered {status}"), asked);
            }
            (401 | 403, Some(false)) => {
                "there is no such repository, or not for everybody: accept its terms on the Hub, and \
                 say who you are with HF_TOKEN"
            }
            (401 | 403, Some(true)) => {
                "who HF_TOKEN, or the token in HF_HOME, belongs to may not read it: accept its terms \
                 on the Hub"
            }
            (404 | 410, Some(_)) => "there is no such repository or version on the Hub",
            (_, Some(_)) => "download it by hand, and give its folder",
            (401 | 403 | 407, None) => "download it by hand where you may, and use `--from`",
            (404 | 410, None) => "it may have moved; download it from elsewhere and use `--from`",
            (_, None) => "download it by hand, and use `--from`",
        };
        let error = anyhow!("cannot download {url}: the server answered {status}");
        let hinted = Err::<(), _>(error).hint(hint);
        Failure::Final(hinted.err().unwrap_or_else(|| anyhow!("cannot download {url}")))
    }

    /// Writes a body behind the first `start` bytes of the file.
    fn receive(
        &self,
        entry: &Entry,
        response: Response<Body>,
        start: u64,
        total: Option<u64>,
    ) -> Result<(), Failure> {
        let context = || format!("cannot write {}", entry.partial.display());
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&entry.partial)
            .with_context(context)?;
        file.set_len(start).with_context(context)?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER];
        let mut bar = Bar::new(self.console, &entry.url, start, total);
        let mut here = start;
        loop {
            let n = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) => {
                    return Err(again(error).because(format!("{} broke off", bar.done())));
                }
            };
            here += n as u64;
            if here > total.unwrap_or(LARGEST) {
                return Err(start_over(entry, "the server sent more than it announced"));
            }
            file.write_all(&buffer[..n]).with_context(context)?;
            bar.at(here);
        }
        file.sync_all().with_context(context)?;
        if total.is_some_and(|total| here < total) {
            return Err(again(anyhow!("the connection ended after {}", bar.done())));
        }
        bar.finish();
        Ok(())
    }
}

impl Failure {
    /// The same failure, with what was going on.
    fn because(self, context: String) -> Self {
        match self {
            Self::Final(error) => Self::Final(error.context(context)),
            Self::Again(error, asked) => Self::Again(error.context(context), asked),
        }
    }
}

/// What is here cannot be continued: the next attempt starts from nothing.
fn start_over(entry: &Entry, why: &'static str) -> Failure {
    entry.forget();
    again(anyhow!(why))
}

/// What helps against certificates that nobody vouches for.
const UNTRUSTED: &str =
    "`--ca-file` names certificates to trust, for instance those of a company's proxy";

/// Why there is no response.
fn refused(url: &str, error: ureq::Error) -> Failure {
    use ureq::Error;
    let hint = match &error {
        Error::Io(source) if source.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) => {
            UNTRUSTED
        }
        Error::Io(_)
        | Error::Timeout(_)
        | Error::HostNotFound
        | Error::ConnectionFailed
        | Error::Protocol(_) => return again(error),
        Error::TooManyRedirects | Error::RedirectFailed => "ask who serves it for its address",
        Error::RequireHttpsOnly(_) => "it leads to an address without encryption; give that one",
        Error::Tls(_) | Error::Rustls(_) => UNTRUSTED,
        _ => "check the address, and the proxy in HTTPS_PROXY or ALL_PROXY",
    };
    let error = Err::<(), _>(error).with_context(|| format!("cannot download {url}")).hint(hint);
    Failure::Final(error.err().unwrap_or_else(|| anyhow!("cannot download {url}")))
}

/// A header that is text.
fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A header that is a number.
fn number(headers: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

/// What names this version of a file well enough to continue it: a strong entity tag, or a date
/// (RFC 9110, §13.1.5).
fn validator(headers: &HeaderMap) -> Option<String> {
    let tag = text(headers, header::ETAG).filter(|tag| !tag.starts_with("W/"));
    tag.or_else(|| text(headers, header::LAST_MODIFIED)).map(str::to_owned)
}

/// First byte and size of the whole file, from `Content-Range: bytes 5-9/10`.
fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = text(headers, header::CONTENT_RANGE)?.strip_prefix("bytes ")?;
    let (part, total) = range.split_once('/')?;
    Some((part.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

/// The certificates of a file.
fn certificates(path: &Path) -> anyhow::Result<RootCerts> {
    let context = || format!("cannot read certificates from {}", path.display());
    let pem = fs::read(path).with_context(context)?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.with_context(context)? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        bail!("{} holds no certificate in PEM form", path.display());
    }
    Ok(RootCerts::new_with_certs(&found))
}

/// A time in seconds that is above zero and below a year.
fn seconds(text: &str) -> Result<Duration, String> {
    const YEAR: f64 = 365.0 * 24.0 * 3600.0;
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds < YEAR => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("found {text}, expected seconds, more than 0")),
    }
}
