//! Slips of the pen.

/// The candidate that `word` was most likely meant to be: at most two letters off, and fewer than half.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    candidates
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= 2)
        .map(|candidate| {
            (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate)
        })
        .filter(|&(distance, _)| distance <= 2 && distance * 2 < length)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let keys = [":cpu", ":mem", ":requires", ":retry", ":results"];
        for (word, meant) in [
            (":cpuu", Some(":cpu")),
            (":CPU", Some(":cpu")),
            (":meme", Some(":mem")),
            (":require", Some(":requires")),
            (":rety", Some(":retry")),
            (":reuslts", Some(":results")),
            (":wibble", None),
            (":x", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }
}
