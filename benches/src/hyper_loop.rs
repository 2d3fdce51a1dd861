//! hyper + serde: hyper-util's pooling client, nothing between it and the loop.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::chat_loop::Transport;
use crate::{Error, Result};

/// A pooling client that sends bodies of type `B`.
pub struct Hyper<B = Full<Bytes>> {
    client: Client<HttpConnector, B>,
    endpoint: Uri,
}

impl<B> Hyper<B>
where
    B: Body + Send + 'static + Unpin,
    B::Data: Send,
    B::Error: Into<Error>,
{
    pub fn new(upstream: &str) -> Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Hyper { client, endpoint: format!("http://{upstream}/v1/chat/completions").parse()? })
    }

    pub async fn send(&self, body: B) -> Result<Incoming> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer sk-bench"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let response = self.client.request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("{}: answered {}", self.endpoint, response.status()).into());
        }
        Ok(response.into_body())
    }
}

impl Transport for Hyper {
    type Body = Incoming;

    async fn post(&self, body: Vec<u8>) -> Result<Self::Body> {
        self.send(Full::from(body)).await
    }

    async fn next(body: &mut Self::Body) -> Result<Option<Bytes>> {
        next_bytes(body).await
    }
}

/// The next bytes of a reply; frames without any (trailers) are passed over.
pub async fn next_bytes(body: &mut Incoming) -> Result<Option<Bytes>> {
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}
