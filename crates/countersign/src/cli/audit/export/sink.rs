//! Where exported lines go.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_outbound::address::Url;
use countersign_outbound::fetch::{Ask, Content, Fetcher, Outbound as _};
use zeroize::Zeroizing;

use crate::problem::{Problem, io};

/// How often an address is tried again before an export that does not follow gives up.
const TRIES: u32 = 8;
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) enum Sink {
    Output,
    File(File, PathBuf),
    Http(Box<Http>),
}

pub(super) struct Http {
    url: Url,
    authorization: Option<Zeroizing<String>>,
    ca_pem: Option<Arc<str>>,
    fetcher: Fetcher,
}

impl Sink {
    pub(super) fn open(to: &str, bearer_from: &str, ca_file: Option<&Path>) -> Result<Self, Problem> {
        if to == "-" {
            return Ok(Self::Output);
        }
        if to.starts_with("https://") || to.starts_with("http://") {
            return Http::new(to, bearer_from, ca_file).map(|http| Self::Http(Box::new(http)));
        }
        let path = PathBuf::from(to);
        let mut file = OpenOptions::new();
        let mut file =
            file.read(true).write(true).create(true).truncate(false).open(&path).map_err(io("open", &path))?;
        cut_torn_line(&mut file).map_err(io("go on in", &path))?;
        Ok(Self::File(file, path))
    }

    /// Returns when the sink has the lines for good.
    pub(super) async fn take(&mut self, lines: String, patiently: bool) -> Result<(), Problem> {
        match self {
            Self::Output => {
                let mut output = std::io::stdout().lock();
                let written = output.write_all(lines.as_bytes()).and_then(|()| output.flush());
                written.map_err(|error| Problem::failed(format!("can't write: {error}")))
            }
            Self::File(file, path) => {
                let written = file.write_all(lines.as_bytes()).and_then(|()| file.sync_data());
                written.map_err(io("write to", path))
            }
            Self::Http(http) => http.post(lines, patiently).await,
        }
    }
}

/// What a process that was killed left of a line is cut: the record it began comes again.
fn cut_torn_line(file: &mut File) -> std::io::Result<()> {
    const PIECE: u64 = 64 * 1024;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(PIECE);
        let mut piece = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or_default()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            end = start.saturating_add(at as u64).saturating_add(1);
            break;
        }
        end = start;
    }
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end)).map(|_| ())
}

/// What came of one try.
enum Tried {
    Taken,
    /// It may go better later.
    Later(String),
    Never(String),
}

impl Http {
    fn new(to: &str, bearer_from: &str, ca_file: Option<&Path>) -> Result<Self, Problem> {
        let url = Url::parse(to).ok_or_else(|| Problem::usage(format!("{to} is not an address to post to")))?;
        if !url.is_tls() && !countersign_outbound::mail::is_loopback(url.host()) {
            return Err(Problem::usage(format!("{to} is not encrypted")).next("give an https address"));
        }
        let ca_pem = ca_file.map(|file| std::fs::read_to_string(file).map_err(io("read", file))).transpose()?;
        let bearer = crate::environment::text(bearer_from).map(Zeroizing::new);
        let authorization = bearer.map(|bearer| Zeroizing::new(format!("Bearer {}", bearer.trim())));
        // Whoever runs the export has named the server.
        let fetcher = Fetcher::new([url.host_and_port()]);
        Ok(Self { url, authorization, ca_pem: ca_pem.map(Arc::from), fetcher })
    }

    async fn post(&self, lines: String, patiently: bool) -> Result<(), Problem> {
        let mut wait = Duration::from_secs(1);
        let mut tries = 1;
        loop {
            match self.once(&lines).await {
                Tried::Taken => return Ok(()),
                Tried::Never(why) => return Err(Problem::failed(format!("the records were not taken: {why}"))),
                Tried::Later(why) if !patiently && tries >= TRIES => {
                    return Err(Problem::failed(format!("the records were not taken, after {tries} tries: {why}")));
                }
                Tried::Later(_) => {}
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(WAIT_MAX);
            tries = tries.saturating_add(1);
        }
    }

    async fn once(&self, lines: &str) -> Tried {
        let bytes = Zeroizing::new(lines.as_bytes().to_vec());
        let content = Content { media_type: "application/x-ndjson", bytes };
        let mut ask = Ask::post(self.url.clone(), content);
        ask.authorization.clone_from(&self.authorization);
        ask.ca_pem.clone_from(&self.ca_pem);
        match self.fetcher.call(ask).await {
            Ok(answer) => match answer.status {
                200..=299 => Tried::Taken,
                408 | 425 | 429 | 500..=599 => Tried::Later(format!("status {}", answer.status)),
                status => Tried::Never(format!("status {status}")),
            },
            Err(error) => Tried::Later(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let long = "x".repeat(200_000);
        for (before, after) in
            [("", ""), ("a\nb\n", "a\nb\n"), ("a\nb", "a\n"), ("ab", ""), (&format!("a\n{long}"), "a\n")]
        {
            std::fs::write(&path, before).unwrap();
            let Ok(Sink::File(mut file, _)) = Sink::open(path.to_str().unwrap(), "NONE", None) else { panic!() };
            file.write_all(b"c\n").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{after}c\n"));
        }
    }

    #[test]
    fn tokens_don_t_travel_in_clear() {
        assert!(Sink::open("http://siem.example/in", "NONE", None).is_err());
        assert!(Sink::open("http://127.0.0.1:9/in", "NONE", None).is_ok());
    }
}
