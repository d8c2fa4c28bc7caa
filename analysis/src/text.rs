//! Texts made alike in what does not matter: case, and how much white space.

/// Appends `text` in lower case with single spaces, none first; one goes between it and what `bytes` holds from
/// `start` on.
pub fn append_alike(text: &str, start: usize, bytes: &mut Vec<u8>) {
    for word in text.split_whitespace() {
        if bytes.len() > start {
            bytes.push(b' ');
        }
        if word.is_ascii() {
            bytes.extend(word.bytes().map(|byte| byte.to_ascii_lowercase()));
        } else {
            let mut room = [0; 4];
            for letter in word.chars().flat_map(char::to_lowercase) {
                bytes.extend_from_slice(letter.encode_utf8(&mut room).as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_white_space_do_not_matter() {
        let alike = |texts: &[&str]| {
            let mut bytes = b"before".to_vec();
            texts.iter().for_each(|text| append_alike(text, 6, &mut bytes));
            String::from_utf8_lossy(&bytes[6..]).into_owned()
        };
        assert_eq!(alike(&["  Disk\tFULL ", "", "on\u{a0}DB1\n"]), "disk full on db1");
        assert_eq!(alike(&["Übergröße ΣΟΦΟΣ"]), "übergröße σοφοσ");
        assert_eq!(alike(&[" \n ", ""]), "");
    }
}
