//! Which licence the card names: that of the upstream models if they agree, otherwise `other` with every licence listed. The
//! publisher may change the card.

use scalequest_crds::protocol::task::PublishedModel;

/// The hub's licence identifiers that a card may name without further explanation.
const KNOWN: [&str; 12] = [
    "apache-2.0",
    "mit",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "gpl-3.0",
    "mpl-2.0",
    "openrail",
];

/// Returns the licence in a card's header: a hub identifier that every model of the run names, or else `other`.
pub fn license_of(models: &[PublishedModel]) -> &'static str {
    let mut named = models.iter().map(|model| {
        model
            .license
            .as_deref()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    });
    let Some(first) = named.next() else {
        return "other";
    };
    match KNOWN.into_iter().find(|known| *known == first) {
        Some(known) if named.all(|other| other == known) => known,
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(licenses: &[Option<&str>]) -> Vec<PublishedModel> {
        let model = |license: &Option<&str>| PublishedModel {
            name: "m".into(),
            source: "s".into(),
            digest: "d".into(),
            license: license.map(Into::into),
            roles: vec![],
        };
        licenses.iter().map(model).collect()
    }

    #[test]
    fn agreeing_models_determine_the_licence() {
        assert_eq!(
            license_of(&models(&[Some("Apache-2.0"), Some("apache-2.0")])),
            "apache-2.0"
        );
    }

    #[test]
    fn differing_models_make_it_other() {
        for licenses in [
            &[Some("mit"), Some("apache-2.0")][..],
            &[Some("mit"), None],
            &[Some("tongyi-qianwen")],
            &[],
        ] {
            assert_eq!(license_of(&models(licenses)), "other", "{licenses:?}");
        }
    }
}
