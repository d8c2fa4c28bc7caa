//! Requests, and when they are sent again.

use std::time::{Duration, Instant};

use graphql_client::{GraphQLQuery, Response};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use crate::Failed;

/// Statuses after which the same request may be sent again.
const AGAIN: [u16; 4] = [429, 502, 503, 504];
/// How long a server is waited for that is busy or gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest wait between two tries.
const WAIT: Duration = Duration::from_secs(5);

/// A server, and who asks it.
pub struct Server {
    pub url: String,
    /// `Bearer …`
    pub authorization: Option<String>,
    agent: Agent,
}

impl Server {
    /// The one that the environment names, or that of this machine.
    pub fn of_environment() -> Self {
        let url = std::env::var("COLONNADE_URL").unwrap_or("http://127.0.0.1:8642".to_owned());
        let key = std::env::var("COLONNADE_API_KEY").ok().filter(|key| !key.is_empty());
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER))
            .tls_config(tls)
            .build();
        Self {
            url: url.trim_end_matches('/').to_owned(),
            authorization: key.map(|key| format!("Bearer {key}")),
            agent: agent.into(),
        }
    }

    /// Sends what does no harm when it is sent twice, until it is answered.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Result<String, Failed> {
        let until = Instant::now() + PATIENCE;
        let mut attempt = 0;
        loop {
            let mut wait = wait_before(attempt);
            let failed = match self.post_once(path, headers, body) {
                Ok((200, _, text)) => return Ok(text),
                Ok((status, told, text)) => {
                    let failed = format!("{path}: status {status}: {}", text.trim());
                    if !AGAIN.contains(&status) {
                        return Err(failed.into());
                    }
                    wait = told.map_or(wait, Duration::from_secs);
                    failed
                }
                Err(error) => error.to_string(),
            };
            if Instant::now() + wait > until {
                return Err(format!("{} does not answer: {failed}", self.url).into());
            }
            std::thread::sleep(wait);
            attempt += 1;
        }
    }

    /// The status, after how many seconds to ask again, and the body.
    fn post_once(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<(u16, Option<u64>, String), ureq::Error> {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send(body)?;
        let told = response.headers().get("retry-after");
        let told = told.and_then(|told| told.to_str().ok()?.parse().ok());
        let text = response.body_mut().read_to_string()?;
        Ok((response.status().as_u16(), told, text))
    }

    /// The data that a query is answered with.
    pub fn ask<Q: GraphQLQuery>(&self, variables: Q::Variables) -> Result<Q::ResponseData, Failed> {
        let body = serde_json::to_string(&Q::build_query(variables))?;
        let text = self.post("/graphql", &[("content-type", "application/json")], &body)?;
        let answer: Response<Q::ResponseData> = serde_json::from_str(&text)?;
        match answer {
            Response { data: Some(data), errors: None, .. } => Ok(data),
            Response { errors, .. } => Err(format!("{errors:?}").into()),
        }
    }
}

/// Twice as long each time, and not the same for all who lost the same server.
pub fn wait_before(attempt: u32) -> Duration {
    let doubled = Duration::from_millis(100).saturating_mul(1 << attempt.min(10));
    doubled.min(WAIT).mul_f64(rand::random_range(0.5..1.0))
}
