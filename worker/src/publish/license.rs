//! Which licence the card names: the upstream models' own, where they agree, otherwise `other` with every licence listed.
//! It decides nothing for the publisher, who may change the card.

use scalequest_crds::protocol::task::PublishedModel;

/// The licence identifiers of the hub that permit what a card needs no further words for.
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

/// The licence in a card's header: a hub identifier that every model of the run names, or else `other`.
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
    fn models_that_agree_give_their_licence_to_the_dataset() {
        assert_eq!(
            license_of(&models(&[Some("Apache-2.0"), Some("apache-2.0")])),
            "apache-2.0"
        );
    }

    #[test]
    fn models_that_differ_or_are_silent_make_it_other() {
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
