;; The sums of ciphertexts: residues are added as they lie in memory, 64-bit words in little-endian order, and reduced
;; when the next addition could pass 2^64. All lengths are in bytes and multiples of 16, as all addresses are.
(module
  ;; Grown by ./kernel.ts to hold an accumulator and what is staged behind it.
  (memory (export "memory") 1)

  ;; accumulator[i] += source[i] modulo 2^64, for `ciphertexts` of `length` bytes that lie one behind the other.
  ;; Four at a time where there are four: the accumulator is read and written once for all of them.
  (func (export "add")
    (param $accumulator i32) (param $source i32) (param $length i32) (param $ciphertexts i32)
    (local $end i32) (local $at i32)
    (local $first i32) (local $second i32) (local $third i32) (local $fourth i32)
    (local.set $end (i32.add (local.get $accumulator) (local.get $length)))
    (block $few
      (loop $fours
        (br_if $few (i32.lt_u (local.get $ciphertexts) (i32.const 4)))
        (local.set $at (local.get $accumulator))
        (local.set $first (local.get $source))
        (local.set $second (i32.add (local.get $first) (local.get $length)))
        (local.set $third (i32.add (local.get $second) (local.get $length)))
        (local.set $fourth (i32.add (local.get $third) (local.get $length)))
        (loop $words
          (v128.store (local.get $at)
            (i64x2.add (v128.load (local.get $at))
              (i64x2.add
                (i64x2.add (v128.load (local.get $first)) (v128.load (local.get $second)))
                (i64x2.add (v128.load (local.get $third)) (v128.load (local.get $fourth))))))
          (local.set $first (i32.add (local.get $first) (i32.const 16)))
          (local.set $second (i32.add (local.get $second) (i32.const 16)))
          (local.set $third (i32.add (local.get $third) (i32.const 16)))
          (local.set $fourth (i32.add (local.get $fourth) (i32.const 16)))
          (br_if $words
            (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
        (local.set $source (local.get $fourth))
        (local.set $ciphertexts (i32.sub (local.get $ciphertexts) (i32.const 4)))
        (br $fours)))
    (block $none
      (loop $ones
        (br_if $none (i32.eqz (local.get $ciphertexts)))
        (local.set $at (local.get $accumulator))
        (loop $words
          (v128.store (local.get $at)
            (i64x2.add (v128.load (local.get $at)) (v128.load (local.get $source))))
          (local.set $source (i32.add (local.get $source) (i32.const 16)))
          (br_if $words
            (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
        (local.set $ciphertexts (i32.sub (local.get $ciphertexts) (i32.const 1)))
        (br $ones))))

  ;; words[i] %= modulus.
  (func (export "reduce") (param $at i32) (param $length i32) (param $modulus i64)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (loop $words
      (i64.store (local.get $at) (i64.rem_u (i64.load (local.get $at)) (local.get $modulus)))
      (br_if $words
        (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (local.get $end)))))

  ;; 1 when every word is below the modulus, which is below 2^63. A word from 2^63 on has its top bit set, and for one
  ;; from the modulus to there modulus - 1 - word has: either shows in the sign of the two together.
  (func (export "below") (param $at i32) (param $length i32) (param $modulus i64) (result i32)
    (local $end i32) (local $largest v128) (local $seen v128) (local $word v128)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (local.set $largest (i64x2.splat (i64.sub (local.get $modulus) (i64.const 1))))
    (loop $words
      (local.set $word (v128.load (local.get $at)))
      (local.set $seen
        (v128.or (local.get $seen)
          (v128.or (local.get $word) (i64x2.sub (local.get $largest) (local.get $word)))))
      (br_if $words
        (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
    (i32.eqz (i64x2.bitmask (local.get $seen))))

  ;; 1 when every word is zero.
  (func (export "zero") (param $at i32) (param $length i32) (result i32)
    (local $end i32) (local $seen v128)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (loop $words
      (local.set $seen (v128.or (local.get $seen) (v128.load (local.get $at))))
      (br_if $words
        (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
    (i32.eqz (v128.any_true (local.get $seen)))))
