//! A network error with its causes as one line: reqwest's own message names no cause.

/// Returns the message of an error with its causes, without the URL: the caller names the server.
pub fn error_chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() {
        "it took too long".to_owned()
    } else if error.is_connect() {
        "cannot connect".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let message = cause.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        source = cause.source();
    }
    text
}
