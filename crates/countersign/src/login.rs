//! Logging in: the server gives a text, the person's SSH key signs it, the server gives a token.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use countersign_crypto::ssh::agent::Agent;
use countersign_crypto::ssh::{self, PrivateKey, PublicKey, SshError};
use countersign_model::Name;
use countersign_model::facts::OPERATORS;
use http::Method;
use serde_json::{Value, json};

use crate::client::{Client, Token};
use crate::problem::{Exit, Problem, io};
use crate::proof::Holder;
use crate::transport::Transport;

/// A person in a tenant, as written on the command line: USER@TENANT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The person.
    pub user: Name,
    /// The tenant.
    pub tenant: Name,
}

impl FromStr for Login {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, tenant) = text.split_once('@').ok_or("expected USER@TENANT, such as nancy@northwind".to_owned())?;
        let name = |part: &str, what: &str| Name::new(part).map_err(|error| format!("the {what}: {error}"));
        Ok(Self { user: name(user, "user")?, tenant: name(tenant, "tenant")? })
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.tenant)
    }
}

/// The operator that `init` makes.
///
/// # Errors
/// Never, as both names are names.
pub fn operator() -> Result<Login, Problem> {
    let name = |text| Name::new(text).map_err(|error| Problem::failed(error.to_string()));
    Ok(Login { user: name(countersign_authority::FIRST_OPERATOR)?, tenant: name(OPERATORS)? })
}

/// What signs.
pub enum Signer {
    /// A private key.
    Key(Box<PrivateKey>),
    /// An agent, and the keys of it to try.
    Agent(PathBuf, Vec<PublicKey>),
}

/// How many keys of an agent are tried: each is a login that may be refused, and on record.
const AGENT_TRIES: usize = 5;

impl Signer {
    /// The key in a file: a private key, or a public one whose other half an agent has. Asks for the passphrase of
    /// an encrypted one if there is somebody to ask.
    ///
    /// # Errors
    /// If the file is no key, or nothing can sign with it.
    pub fn from_file(path: &Path, agent: Option<PathBuf>) -> Result<Self, Problem> {
        let text = std::fs::read_to_string(path).map_err(io("read the SSH key", path))?;
        let name = path.display();
        if let Ok(public) = PublicKey::parse(&text) {
            let socket = agent.ok_or_else(|| {
                Problem::usage(format!("{name} is a public key, and there is no ssh-agent to sign with its other half"))
                    .next("start an agent and add the key with ssh-add, or name the private key")
            })?;
            return Ok(Self::Agent(socket, vec![public]));
        }
        let bad = |error: SshError| Problem::usage(format!("{name}: {error}"));
        match PrivateKey::read(&text, None) {
            Ok(key) => Ok(Self::Key(Box::new(key))),
            Err(SshError::Encrypted) if console::user_attended_stderr() => {
                let term = console::Term::stderr();
                let asked = term.write_str(&format!("passphrase of {name}: ")).and_then(|()| term.read_secure_line());
                let passphrase = asked.map_err(|error| Problem::failed(format!("can't read a passphrase: {error}")))?;
                PrivateKey::read(&text, Some(&passphrase)).map(|key| Self::Key(Box::new(key))).map_err(bad)
            }
            Err(error) => Err(bad(error)),
        }
    }

    /// Every key of an agent, the first few of them.
    ///
    /// # Errors
    /// If no agent answers or it has no key.
    pub fn from_agent(socket: PathBuf) -> Result<Self, Problem> {
        let failed = |error: &dyn fmt::Display| {
            Problem::failed(format!("ssh-agent at {}: {error}", socket.display())).next("name a key with --key FILE")
        };
        let mut keys =
            Agent::connect(&socket).and_then(|mut agent| agent.identities()).map_err(|error| failed(&error))?;
        keys.truncate(AGENT_TRIES);
        if keys.is_empty() {
            return Err(failed(&"it has no key that can log in"));
        }
        Ok(Self::Agent(socket, keys))
    }
}

/// A token for `login`, good for at most `lifetime_ms`; for as long as the deployment gives if that is `None`. It is
/// bound to the key of `holder`, if there is one.
///
/// # Errors
/// What the server said, or that nothing could sign.
pub async fn login(
    transport: &Arc<Transport>,
    login: &Login,
    signer: &Signer,
    lifetime_ms: Option<u64>,
    holder: Option<&Arc<Holder>>,
) -> Result<Token, Problem> {
    let client = Client::new(Arc::clone(transport), None).held_by(holder.cloned());
    match signer {
        Signer::Key(key) => {
            attempt(&client, login, lifetime_ms, |namespace, text| ssh::sign(key, namespace, text).map_err(signing))
                .await
        }
        Signer::Agent(socket, keys) => {
            let mut refused = None;
            for key in keys {
                let sign = |namespace: &str, text: &[u8]| {
                    let signed = Agent::connect(socket).and_then(|mut agent| agent.sign(key, namespace, text));
                    signed.map_err(|error| Problem::failed(format!("ssh-agent did not sign: {error}")))
                };
                match attempt(&client, login, lifetime_ms, sign).await {
                    Err(problem) if problem.exit == Exit::Refused => refused = Some(problem),
                    other => return other,
                }
            }
            Err(refused.unwrap_or_else(|| Problem::new(Exit::Refused, "no key to log in with")))
        }
    }
}

fn signing(error: SshError) -> Problem {
    Problem::failed(format!("can't sign the challenge: {error}"))
}

async fn attempt(
    client: &Client,
    login: &Login,
    lifetime_ms: Option<u64>,
    sign: impl FnOnce(&str, &[u8]) -> Result<String, Problem>,
) -> Result<Token, Problem> {
    let who = json!({ "user": login.user, "tenant": login.tenant });
    let challenge = client.put(Method::POST, "/v1/login/challenge", &who).await?;
    let part = |name: &str| {
        let text = challenge.get(name).and_then(Value::as_str);
        text.ok_or_else(|| Problem::failed("the server's challenge is not one"))
    };
    let signature = sign(countersign_authority::LOGIN_NAMESPACE, part("text")?.as_bytes())?;
    let mut answer = json!({ "user": login.user, "tenant": login.tenant, "id": part("id")?, "signature": signature });
    if let (Some(fields), Some(ms)) = (answer.as_object_mut(), lifetime_ms) {
        fields.insert("expires_in".to_owned(), json!(ms.div_ceil(1000)));
    }
    let refused = |problem: Problem| match problem.exit {
        Exit::Refused => Problem::new(Exit::Refused, format!("the login of {login} was refused")).next(format!(
            "check the names, and that this SSH key is the user's: countersign user list --tenant {}",
            login.tenant
        )),
        _ => problem,
    };
    let granted = client.put(Method::POST, "/v1/login", &answer).await.map_err(refused)?;
    Token::granted(&granted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_two_names() {
        let login: Login = "nancy@northwind".parse().unwrap();
        assert_eq!(login.to_string(), "nancy@northwind");
        for bad in ["nancy", "@northwind", "nancy@", "Nancy@northwind", "a@b@c", "../x@y"] {
            assert!(bad.parse::<Login>().is_err(), "{bad}");
        }
    }
}
