use super::*;

fn syntax(uid: &str) -> TransferSyntaxUid {
    TransferSyntaxUid::new(uid).unwrap()
}

fn nested() -> Identifier {
    let item = Identifier::default()
        .with(tags::MODALITY, Some("CT"))
        .with(tags::SCHEDULED_PROCEDURE_STEP_DESCRIPTION, Some("Schädel"));
    Identifier::default()
        .with(tags::PATIENT_NAME, Some("Buc^Jérôme"))
        .with(tags::ROWS, Some("512"))
        .with(tags::STUDY_INSTANCE_UID, Some("1.2.3"))
        .with(tags::ACCESSION_NUMBER, None)
        .with_items(
            tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE,
            vec![item, Identifier::default()],
        )
}

#[test]
fn what_is_written_is_read_in_every_syntax() {
    for uid in [
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.2",
    ] {
        let bytes = nested().encoded(&syntax(uid), "");
        assert_eq!(bytes.len() % 2, 0);
        let read = Identifier::read(&bytes, &syntax(uid)).unwrap();
        assert_eq!(
            read.text(tags::SPECIFIC_CHARACTER_SET),
            Some("ISO_IR 100"),
            "{uid}"
        );
        assert_eq!(
            read.with(tags::SPECIFIC_CHARACTER_SET, None)
                .text(tags::ROWS),
            Some("512")
        );
        let mut read = Identifier::read(&bytes, &syntax(uid)).unwrap();
        read.elements.remove(&tags::SPECIFIC_CHARACTER_SET);
        assert_eq!(read, nested(), "{uid}");
    }
}

/// Names of PS3.5 annexes H to K, and one for every single-byte set, alone and as a code extension.
#[test]
fn every_character_set_of_the_standard_goes_out_as_it_came_in() {
    for (set, name) in [
        ("", "Doe^Jane"),
        ("ISO_IR 100", "Buc^Jérôme"),
        ("ISO_IR 101", "Wałęsa^Łukasz"),
        ("ISO_IR 109", "Ĉapek^Ĝoĵo"),
        ("ISO_IR 110", "Bērziņš^Jānis"),
        ("ISO_IR 126", "Διονυσιος"),
        ("ISO_IR 127", "قباني^لنزار"),
        ("ISO_IR 138", "שרון^דבורה"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("ISO_IR 166", "สมชาย"),
        ("ISO_IR 148", "Şişi^İnci"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("GBK", "Wang^XiaoDong=王^小东"),
        ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (
            "ISO 2022 IR 13\\ISO 2022 IR 87",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        ),
        ("\\ISO 2022 IR 87\\ISO 2022 IR 159", "Toda=戸田^丂"),
        ("ISO_IR 6", "Doe^Jane"),
        ("ISO 2022 IR 6\\ISO 2022 IR 100", "Buc^Jérôme"),
        ("\\ISO 2022 IR 101", "Wałęsa^Łukasz"),
        ("\\ISO 2022 IR 109", "Ĉapek^Ĝoĵo"),
        ("\\ISO 2022 IR 110", "Bērziņš^Jānis"),
        ("\\ISO 2022 IR 126", "Διονυσιος"),
        ("\\ISO 2022 IR 127", "قباني^لنزار"),
        ("\\ISO 2022 IR 138", "שרון^דבורה"),
        ("\\ISO 2022 IR 144", "Люкceмбypг"),
        ("\\ISO 2022 IR 148", "Şişi^İnci"),
        ("\\ISO 2022 IR 166", "สมชาย"),
        ("\\ISO 2022 IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("ISO_IR 203", "Œuvre^Ÿ €"),
        ("\\ISO 2022 IR 203", "Doe^œŸ"),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("\\ISO 2022 IR 58", "Zhang^XiaoDong=张^小东"),
        (
            "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126",
            "Jérôme Люкceмбypг Διον é",
        ),
    ] {
        let asked = Identifier::default().with(tags::PATIENT_NAME, Some(name));
        for uid in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"] {
            let bytes = asked.encoded(&syntax(uid), set);
            let read = Identifier::read(&bytes, &syntax(uid)).unwrap();
            assert_eq!(read.text(tags::PATIENT_NAME), Some(name), "{set}");
            assert_eq!(
                read.text(tags::SPECIFIC_CHARACTER_SET).unwrap_or_default(),
                set,
                "{name}"
            );
        }
    }
}

#[test]
fn what_the_wanted_set_does_not_hold_is_said_in_another() {
    for (wanted, name, expected) in [
        ("", "Jérôme", "ISO_IR 100"),
        ("ISO_IR 144", "Jérôme", "ISO_IR 100"),
        ("ISO_IR 100", "王", "ISO_IR 192"),
        ("\\ISO 2022 IR 87", "Люкс 한", "ISO_IR 192"),
        ("NO SUCH SET", "王", "ISO_IR 192"),
    ] {
        let asked = Identifier::default().with(tags::PATIENT_NAME, Some(name));
        let uid = syntax("1.2.840.10008.1.2.1");
        let read = Identifier::read(&asked.encoded(&uid, wanted), &uid).unwrap();
        assert_eq!(
            read.text(tags::SPECIFIC_CHARACTER_SET),
            Some(expected),
            "{wanted} {name}"
        );
        assert_eq!(read.text(tags::PATIENT_NAME), Some(name));
    }
}

#[test]
fn hostile_data_sets_are_refused() {
    let deep: Vec<u8> = [
        8, 0, 0x99, 0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF,
    ]
    .repeat(10_000);
    let long = [8, 0, 0x52, 0, 0xF0, 0xFF, 0xFF, 0xFF, b'S', b'T'];
    let cut = [8, 0, 0x52, 0, 4, 0];
    for bad in [&deep[..], &long, &cut] {
        assert!(Identifier::read(bad, &syntax("1.2.840.10008.1.2")).is_err());
    }
    assert!(
        Identifier::read(&[], &syntax("1.2.840.10008.1.2"))
            .unwrap()
            .is_empty()
    );
}
