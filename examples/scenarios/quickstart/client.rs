//! A plain HTTP client: one request, one response, no policies.

use axum::body::{Body, to_bytes};
use axum::http::{StatusCode, Uri};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::net::SocketAddr;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// An HTTP client; clones share their connections.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpClient<HttpConnector, Body>,
    page: Uri,
}

impl Client {
    pub(crate) fn new(server: SocketAddr) -> Result<Self, Failure> {
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        Ok(Self { http, page: format!("http://{server}/").parse()? })
    }

    /// Gets the page and reads its whole body.
    pub(crate) async fn get(&self) -> Result<StatusCode, Failure> {
        let response = self.http.get(self.page.clone()).await?;
        let status = response.status();
        to_bytes(Body::new(response.into_body()), usize::MAX).await?;
        Ok(status)
    }
}
