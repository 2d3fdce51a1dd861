//! reqwest + serde: what most people would write.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use crate::Result;
use crate::chat_loop::Transport;

pub struct Reqwest {
    client: reqwest::Client,
    endpoint: reqwest::Url,
}

impl Reqwest {
    pub fn new(upstream: &str) -> Result<Self> {
        // A proxy of the environment would be measured instead.
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Reqwest { client, endpoint: format!("http://{upstream}/v1/chat/completions").parse()? })
    }
}

impl Transport for Reqwest {
    type Body = reqwest::Response;

    async fn post(&self, body: Vec<u8>) -> Result<Self::Body> {
        let request = self.client.post(self.endpoint.clone()).bearer_auth("sk-bench");
        let request = request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "text/event-stream");
        Ok(request.body(body).send().await?.error_for_status()?)
    }

    async fn next(body: &mut Self::Body) -> Result<Option<Bytes>> {
        Ok(body.chunk().await?)
    }
}
