//! As much of HTTP/1.1 as a test client needs (RFC 9112): one request, one answer, by length or in chunks.

use std::io::{BufRead, Read, Write};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// What is sent. Nothing is added but `Host`, `Content-Length` and the client's token.
#[derive(Clone, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query, percent-encoded by the caller.
    pub path: String,
    /// Header lines.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without headers or body.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.into(), path: path.into(), ..Self::default() }
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        let mut request = self.header("Content-Type", "application/json");
        request.body = body.to_string().into_bytes();
        request
    }

    /// Sets a body as it is.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Writes the request in one piece.
    pub(crate) fn write(&self, host: &str, token: Option<&str>, out: &mut impl Write) -> Result<()> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.path);
        if let Some(token) = token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || matches!(self.method.as_str(), "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        out.write_all(&bytes)?;
        out.flush()?;
        Ok(())
    }
}

/// What came back.
#[derive(Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// If it is not JSON; the message has the status and the body.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON, status {}: {}", self.status, self.text()))
    }

    /// The body as a list of JSON rows.
    ///
    /// # Errors
    /// If the status is not a success or the body is not a list.
    pub fn rows(&self) -> Result<Vec<Value>> {
        match self.json()? {
            Value::Array(rows) if self.is_success() => Ok(rows),
            other => bail!("expected rows, got status {}: {other}", self.status),
        }
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// This answer if it is a success.
    ///
    /// # Errors
    /// With status and body if it is not.
    pub fn success(self) -> Result<Self> {
        if !self.is_success() {
            bail!("status {}: {}", self.status, self.text());
        }
        Ok(self)
    }

    /// Reads one answer, interim ones skipped.
    pub(crate) fn read(method: &str, input: &mut impl BufRead) -> Result<Self> {
        loop {
            let response = Self::read_one(method, input)?;
            if response.status >= 200 {
                return Ok(response);
            }
        }
    }

    fn read_one(method: &str, input: &mut impl BufRead) -> Result<Self> {
        let status_line = line(input)?;
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status: u16 = status.with_context(|| format!("not a status line: {status_line:?}"))?;
        let mut headers = Vec::new();
        loop {
            let line = line(input)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').with_context(|| format!("not a header: {line:?}"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Self { status, headers, body: Vec::new() };
        let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
        if bodiless {
            return Ok(response);
        }
        if response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            response.body = chunks(input)?;
        } else if let Some(length) = response.header("content-length") {
            let length: usize = length.parse().context("content-length")?;
            response.body = vec![0; length];
            input.read_exact(&mut response.body)?;
        } else {
            input.read_to_end(&mut response.body)?;
        }
        Ok(response)
    }
}

fn line(input: &mut impl BufRead) -> Result<String> {
    let mut bytes = Vec::new();
    input.read_until(b'\n', &mut bytes)?;
    let text = String::from_utf8(bytes).context("a header line that is not UTF-8")?;
    let Some(line) = text.strip_suffix("\r\n") else { bail!("the connection ended inside a header line") };
    Ok(line.to_owned())
}

fn chunks(input: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size_line = line(input)?;
        let digits = size_line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).with_context(|| format!("not a chunk size: {size_line:?}"))?;
        let read = input.by_ref().take(size).read_to_end(&mut body)?;
        if read as u64 != size {
            bail!("the connection ended inside a chunk");
        }
        let end = line(input)?;
        if size == 0 {
            if !end.is_empty() {
                while !line(input)?.is_empty() {}
            }
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, text: &str) -> Result<Response> {
        Response::read(method, &mut text.as_bytes())
    }

    #[test]
    fn bodies_come_by_length_or_in_chunks() {
        let by_length = read("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!").unwrap();
        assert_eq!((by_length.status, by_length.text().as_str()), (200, "hi"));
        let chunked = "HTTP/1.1 201 C\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
        assert_eq!(read("POST", chunked).unwrap().text(), "hi!");
        assert_eq!(read("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").unwrap().body, b"");
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        for cut in ["", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi"] {
            assert!(read("GET", cut).is_err());
        }
    }
}
