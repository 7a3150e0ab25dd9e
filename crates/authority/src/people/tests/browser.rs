//! As much of a browser as a login needs: cookies, redirects, and forms that are filled in and sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use countersign_crypto::tls::{ServerName, TlsConnector, client_config};
use http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::people::address::HttpsUrl;

/// A person's browser.
pub(super) struct Browser {
    ca_pem: Arc<str>,
    cookies: BTreeMap<String, String>,
    /// Who logs in.
    login: String,
}

/// Where a browser came to.
pub(super) enum Page {
    /// It was sent away from the provider, to this URL.
    Away(String),
    /// A page without a form.
    End(u16, String),
}

impl Browser {
    pub fn of(login: &str, ca_pem: &Arc<str>) -> Self {
        Self { ca_pem: Arc::clone(ca_pem), cookies: BTreeMap::new(), login: login.into() }
    }

    /// Goes to a URL and does what the pages ask for, until there is nothing left to do.
    pub async fn visit(&mut self, url: &str) -> Page {
        let (mut url, mut form) = (url.to_owned(), None);
        for _ in 0..20 {
            let (status, headers, page) = self.fetch(&url, form.take()).await;
            if let Some(location) = headers.get(LOCATION).map(|location| location.to_str().unwrap()) {
                let next = absolute(&url, location);
                if origin(&next) != origin(&url) {
                    return Page::Away(next);
                }
                url = next;
                continue;
            }
            let Some((action, mut fields)) = form_of(&page) else { return Page::End(status, page) };
            if let Some(login) = fields.get_mut("login") {
                login.clone_from(&self.login);
                fields.insert("password".into(), "any".into());
            }
            url = absolute(&url, &action);
            let pairs = fields.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            form = Some(super::super::token_endpoint::form(pairs).to_string());
        }
        panic!("a browser that goes in circles");
    }

    async fn fetch(&mut self, url: &str, form: Option<String>) -> (u16, http::HeaderMap, String) {
        let target = HttpsUrl::parse(url).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", target.port())).await.unwrap();
        let name = ServerName::try_from(target.host().to_owned()).unwrap();
        let config = client_config(&self.ca_pem).unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = http::Request::builder()
            .method(if form.is_some() { "POST" } else { "GET" })
            .uri(target.path_and_query())
            .header(HOST, target.authority())
            .header(COOKIE, cookies.join("; "))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form.unwrap_or_default())))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (pair, rest) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').unwrap();
            if rest.contains("01 Jan 1970") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.into(), value.into());
            }
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }
}

fn origin(url: &str) -> &str {
    let end = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
    &url[..end]
}

fn absolute(base: &str, location: &str) -> String {
    if location.starts_with('/') { format!("{}{location}", origin(base)) } else { location.to_owned() }
}

/// The first form of a page: where it goes, and its fields as they are.
fn form_of(page: &str) -> Option<(String, BTreeMap<String, String>)> {
    let form = &page[page.find("<form")?..];
    let form = &form[..form.find("</form>")?];
    let fields = form.split("<input").skip(1).filter_map(|input| {
        let input = &input[..input.find('>')?];
        Some((attribute(input, "name")?, attribute(input, "value").unwrap_or_default()))
    });
    Some((attribute(form, "action")?, fields.collect()))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let begin = format!("{name}=\"");
    let value = &tag[tag.find(&begin)?..][begin.len()..];
    Some(value[..value.find('"')?].replace("&amp;", "&"))
}
