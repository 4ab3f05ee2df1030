//! Keys and certificates for servers on loopback, made anew in each run.

use anyhow::Result;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// An authority that its clients are told to trust.
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// What a server shows (PEM).
pub struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// An identity for a server on this machine.
    pub fn identity(&self) -> Result<Identity> {
        self.identity_of(&["127.0.0.1", "localhost"])
    }

    /// An identity for a server that has these names.
    pub fn identity_of(&self, names: &[&str]) -> Result<Identity> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, "testbed");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.certificate.der().to_vec()
    }
}

/// What signs tokens, and what their signatures are checked with (PEM).
pub(crate) struct SigningKey {
    pub(crate) private: String,
    pub(crate) public: String,
}

impl SigningKey {
    pub(crate) fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        Ok(Self { private: key.serialize_pem(), public: key.public_key_pem() })
    }
}
