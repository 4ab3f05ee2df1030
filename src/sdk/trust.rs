//! Whose certificates are trusted: those that the machine trusts, and those in `AWS_CA_BUNDLE`.

use aws_smithy_http_client::{Builder, ConnectorBuilder, proxy::ProxyConfig, tls};

/// An HTTP client that trusts the certificates of the file that `AWS_CA_BUNDLE` names; `None` when it names none. The AWS SDK for
/// Rust does not know the variable, which every other AWS tool honours.
///
/// # Errors
/// When the file cannot be read.
pub fn client_from_environment() -> Result<Option<aws_sdk_iam::config::SharedHttpClient>, String> {
    Ok(trust_from_environment()?.map(client_trusting))
}

fn trust_from_environment() -> Result<Option<tls::TlsContext>, String> {
    let Some(path) = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) else { return Ok(None) };
    let path = std::path::PathBuf::from(path);
    let pem = std::fs::read(&path).map_err(|error| {
        format!(
            "AWS_CA_BUNDLE names {}, which cannot be read: {error}; mount the file or unset the variable",
            path.display()
        )
    })?;
    let store = tls::TrustStore::default().with_pem_certificate(pem);
    let context = tls::TlsContext::builder().with_trust_store(store).build();
    context
        .map(Some)
        .map_err(|error| format!("AWS_CA_BUNDLE names {}, which holds no certificates: {error}", path.display()))
}

fn client_trusting(trust: tls::TlsContext) -> aws_sdk_iam::config::SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = ConnectorBuilder::default()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .tls_context(trust.clone())
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(aws_sdk_iam::config::RuntimeComponents::sleep_impl));
        connector.build()
    })
}
