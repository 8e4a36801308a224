//! `/v2/members`: who belongs to the cluster.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::auth::json_fault;
use super::{Call, Client, Deadline, Error, Response, Tries, Url, fetch};

const PATH: &str = "/v2/members";
const OK: u16 = 200;
const CREATED: u16 = 201;
const NO_CONTENT: u16 = 204;
const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;
const GONE: u16 = 410;

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Member {
    /// The ID in hexadecimal digits.
    pub id: String,
    /// The name; empty until the member has started.
    pub name: String,
    /// Where its peers reach it.
    #[serde(rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Where its clients reach it.
    #[serde(rename = "clientURLs")]
    pub client_urls: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Members {
    members: Option<Vec<Member>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: String,
}

impl Client {
    /// Lists the members.
    ///
    /// # Errors
    /// If no server answers, or not with a list.
    pub async fn members(&mut self, deadline: Deadline) -> Result<Vec<Member>, Error> {
        let response = self.call(&Call::new("GET", PATH), Tries::All, deadline).await?;
        check(&response, &[OK])?;
        let list: Members = read(&response)?;
        Ok(list.members.unwrap_or_default())
    }

    /// Names the leader.
    ///
    /// # Errors
    /// If no server answers, or none knows a leader.
    pub async fn leader(&mut self, deadline: Deadline) -> Result<Member, Error> {
        let call = Call::new("GET", format!("{PATH}/leader"));
        let response = self.call(&call, Tries::All, deadline).await?;
        check(&response, &[OK])?;
        read(&response)
    }

    /// Takes a member into the cluster.
    ///
    /// # Errors
    /// If the URL is none, or the server refuses, or none answers.
    pub async fn add_member(&mut self, url: &str, deadline: Deadline) -> Result<Member, Error> {
        let call = Call::new("POST", PATH).json(body(&peer_urls(&[url])?));
        let response = self.call(&call, Tries::All, deadline).await?;
        check(&response, &[CREATED, CONFLICT])?;
        if response.status != CREATED {
            return Err(Error::Refused(read::<Refusal>(&response)?.message));
        }
        read(&response)
    }

    /// Gives a member other peer URLs.
    ///
    /// # Errors
    /// If a URL is none, or the server refuses, or none answers.
    pub async fn update_member(
        &mut self,
        id: &str,
        urls: &[&str],
        deadline: Deadline,
    ) -> Result<(), Error> {
        let call = Call::new("PUT", format!("{PATH}/{id}")).json(body(&peer_urls(urls)?));
        let response = self.call(&call, Tries::All, deadline).await?;
        check(&response, &[NO_CONTENT, NOT_FOUND, CONFLICT])?;
        if response.status != NO_CONTENT {
            return Err(Error::Refused(read::<Refusal>(&response)?.message));
        }
        Ok(())
    }

    /// Takes a member out of the cluster; one that is out already is no error.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn remove_member(&mut self, id: &str, deadline: Deadline) -> Result<(), Error> {
        let call = Call::new("DELETE", format!("{PATH}/{id}"));
        let response = self.call(&call, Tries::All, deadline).await?;
        check(&response, &[NO_CONTENT, GONE])
    }
}

/// Asks the server at a client URL whether it is healthy.
///
/// # Errors
/// If it does not answer, or not with its health.
pub async fn health(url: &str, dial_timeout: Duration) -> Result<bool, Error> {
    let url = format!("{url}/health");
    let body = fetch(&url, dial_timeout, None)
        .await
        .map_err(|error| Error::Text(format!("Get {url:?}: {error}")))?;
    let health: Value = serde_json::from_slice(&body).map_err(|error| json_fault(&body, &error))?;
    // Servers before etcd 3.0 tell a truth value instead of a text.
    Ok(health["health"] == "true" || health["health"] == true)
}

/// Checks peer URLs and brings them into the order in which etcd keeps them.
///
/// # Errors
/// If one is no URL of a peer.
pub fn peer_urls(texts: &[&str]) -> Result<Vec<String>, Error> {
    let mut urls = Vec::with_capacity(texts.len());
    for text in texts.iter().map(|text| text.trim()) {
        let url = Url::parse(text)?;
        if !matches!(url.scheme.as_str(), "http" | "https" | "unix" | "unixs") {
            let message = format!("URL scheme must be http, https, unix, or unixs: {text}");
            return Err(Error::Text(message));
        }
        if !url.host.rsplit(']').next().is_some_and(|rest| rest.contains(':')) {
            let message = format!("URL address does not have the form \"host:port\": {text}");
            return Err(Error::Text(message));
        }
        if !url.path.is_empty() {
            return Err(Error::Text(format!("URL must not contain a path: {text}")));
        }
        urls.push(url.to_string());
    }
    urls.sort();
    Ok(urls)
}

fn body(urls: &[String]) -> String {
    serde_json::json!({ "peerURLs": urls }).to_string()
}

pub(super) fn check(response: &Response, wanted: &[u16]) -> Result<(), Error> {
    if wanted.contains(&response.status) {
        return Ok(());
    }
    Err(Error::Status(response.status))
}

fn read<T: for<'a> Deserialize<'a>>(response: &Response) -> Result<T, Error> {
    serde_json::from_slice(&response.body).map_err(|error| json_fault(&response.body, &error))
}
