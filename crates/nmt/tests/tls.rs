//! `nmt fetch` over TLS: certificates that are trusted, and those that are not.

mod place;
mod server;

use std::{fs, net::TcpStream, sync::Arc};

use place::Place;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivateKeyDer};
use server::{Server, answer};

/// A server whose certificate for `localhost` an authority of its own has signed, and the certificate of
/// that authority as PEM.
fn server() -> (Server, String) {
    let mut authority = CertificateParams::new(Vec::new()).expect("there is no name to be wrong");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = || KeyPair::generate().expect("a key can be made");
    let authority_key = key();
    let root = authority.self_signed(&authority_key).expect("it can be signed").pem();
    let issuer = Issuer::new(authority, authority_key);
    let own_key = key();
    let own = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name of a host");
    let own = own.signed_by(&own_key, &issuer).expect("it can be signed");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(
            vec![own.der().clone()],
            PrivateKeyDer::Pkcs8(own_key.serialize_der().into()),
        )
        .expect("certificate and key belong together");
    let config = Arc::new(config);
    let secured = move |stream: TcpStream| {
        let connection =
            ServerConnection::new(Arc::clone(&config)).expect("the configuration fits");
        StreamOwned::new(connection, stream)
    };
    (Server::listening("https", |_, _| answer("200 OK", &[], b"one\ntwo\n"), secured), root)
}

const FETCH: &str = "fetch --cache cache --first-wait 0.01 --out new --url";

#[test]
fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let (server, root) = server();
    let url = server.url.replace("127.0.0.1", "localhost");
    let place = Place::empty();
    place.write("root.pem", root);
    let (code, _, said) = place.nmt(&format!("{FETCH} {url}/a"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("certificate") && said.contains("hint: `--ca-file` names"), "{said}");
    assert!(server.seen().is_empty() && !place.path("new").exists());

    place.done(&format!("{FETCH} {url}/a --ca-file root.pem"));
    assert_eq!(fs::read(place.path("new/a")).unwrap(), b"one\ntwo\n");
}

#[test]
fn a_certificate_for_another_name_is_refused_at_once() {
    let (server, root) = server();
    let place = Place::empty();
    place.write("root.pem", root);
    let (code, _, said) = place.nmt(&format!("{FETCH} {}/a --ca-file root.pem", server.url));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("certificate") && !said.contains("again"), "{said}");
    assert!(server.seen().is_empty() && !place.path("new").exists());
}
