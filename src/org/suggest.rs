//! "Did you mean": the candidate that is closest to a mistyped word.

/// The candidate that `word` was most likely meant to be: at most two letters off, and fewer than half.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (length, word) = (word.chars().count(), word.to_lowercase());
    let own = letters(&word);
    candidates
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= 2)
        // Measuring takes long, and most words have three letters that the other has not.
        .filter(|candidate| {
            let other = letters(candidate);
            (own & !other).count_ones() <= 2 && (other & !own).count_ones() <= 2
        })
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|&(distance, _)| distance <= 2 && distance * 2 < length)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Which letters a word has, in either case; a bit may stand for several.
fn letters(word: &str) -> u32 {
    word.bytes().filter(u8::is_ascii).fold(0, |letters, letter| letters | 1 << (letter & 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
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
            assert_eq!(suggest(word, keys), meant, "{word}");
        }
    }
}
