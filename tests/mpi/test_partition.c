/* partition: who owns which segment, by trying every owner; offsets, sizes and overlaps by
 * counting.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mpi/tree/partition.h"

enum { MOST_OWNERS = 40, MOST_BUCKETS = 6 };

/* Of B segments and Q owners, owner q has [floor(q B/Q), floor((q+1) B/Q)). */
static int owner_of(int64_t segment, int64_t segments, int owners) {
  int found = -1;
  for (int q = 0; q < owners; ++q)
    if (segment >= q * segments / owners && segment < (q + 1) * segments / owners) found = q;
  return found;
}

/* Each owner's segments of each bucket are those that are its own, in order, and lie in its array
 * behind those of the buckets before. */
static void check(const int64_t *segments, int buckets, int owners) {
  int64_t begin[MOST_BUCKETS], elements = 0, owned[MOST_OWNERS] = {0};
  for (int b = 0; b < buckets; ++b) {
    begin[b] = elements;
    elements += segments[b] * 1024;
  }
  lap_partition *partition = lap_partition_create(begin, buckets, elements, owners);
  assert_int_equal(partition->owners, owners);
  assert_int_equal(partition->buckets, buckets);
  assert_int_equal(partition->counted_buckets, buckets);
  assert_int_equal(partition->elements, elements);
  for (int b = 0; b < buckets; ++b) {
    int64_t largest = 0, next = begin[b];
    assert_int_equal(partition->bucket_begin[b], begin[b]);
    assert_int_equal(lap_partition_elements(partition, b), segments[b] * 1024);
    for (int owner = 0; owner < owners; ++owner) {
      const lap_range range = lap_partition_range(partition, b, owner);
      assert_int_equal(range.begin, next);
      for (; next < range.end; next += 1024)
        assert_int_equal(owner_of((next - begin[b]) / 1024, segments[b], owners), owner);
      assert_int_equal(range.end, next);
      assert_int_equal(lap_partition_offset(partition, b, owner), owned[owner]);
      owned[owner] += lap_range_count(range);
      if (lap_range_count(range) > largest) largest = lap_range_count(range);
    }
    assert_int_equal(next, begin[b] + segments[b] * 1024);
    assert_int_equal(lap_partition_largest(partition, b), largest);
  }
  for (int owner = 0; owner < owners; ++owner)
    assert_int_equal(lap_partition_owned(partition, owner), owned[owner]);
  assert_int_equal(partition->bucket_begin[buckets], elements);
  lap_partition_destroy(partition);
}

static void every_segment_has_the_owner_of_the_formula(void **state) {
  (void)state;
  static const int64_t vectors[][MOST_BUCKETS] = {
      {13, 0, 1, 30, 7, 2}, {1, 1, 1, 1, 1, 1}, {40, 39, 41, 0, 0, 3}, {0, 0, 5, 0, 0, 0}};
  for (size_t v = 0; v < sizeof vectors / sizeof *vectors; ++v)
    for (int buckets = 1; buckets <= MOST_BUCKETS; ++buckets)
      for (int owners = 1; owners <= MOST_OWNERS; ++owners) check(vectors[v], buckets, owners);
}

/* 27 billion elements on the ranks of a large machine. */
static void large_vectors_do_not_overflow(void **state) {
  (void)state;
  const int64_t begin = 0, large = INT64_C(26367188) * LAP_SEGMENT;
  enum { OWNERS = 100000 };
  lap_partition *partition = lap_partition_create(&begin, 1, large, OWNERS);
  assert_int_equal(lap_partition_range(partition, 0, OWNERS - 1).end, large);
  assert_int_equal(lap_partition_range(partition, 0, OWNERS / 2).begin,
                   INT64_C(13183594) * LAP_SEGMENT);
  assert_int_equal(lap_partition_largest(partition, 0), 264 * LAP_SEGMENT);
  lap_partition_destroy(partition);
}

/* What is in both, number by number. */
static void overlaps_have_what_is_in_both(void **state) {
  (void)state;
  enum { END = 6 };
  for (int64_t a = 0; a <= END; ++a)
    for (int64_t b = a; b <= END; ++b)
      for (int64_t c = 0; c <= END; ++c)
        for (int64_t d = c; d <= END; ++d) {
          const lap_range both = lap_range_overlap((lap_range){a, b}, (lap_range){c, d});
          int64_t count = 0;
          for (int64_t i = 0; i < END; ++i) {
            const bool is_in_both = i >= a && i < b && i >= c && i < d;
            assert_int_equal(i >= both.begin && i < both.end, is_in_both);
            count += is_in_both;
          }
          assert_int_equal(lap_range_count(both), count);
        }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_segment_has_the_owner_of_the_formula),
      cmocka_unit_test(large_vectors_do_not_overflow),
      cmocka_unit_test(overlaps_have_what_is_in_both),
  };
  return cmocka_run_group_tests_name("partition", tests, NULL, NULL);
}
