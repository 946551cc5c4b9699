/* Another version of the conformance program, for RECONCILE_AND_COMMIT: some objects are as they were, others larger,
 * smaller, otherwise, or gone.
 */
#define NEXT
#define EXACT_SIZE 2048
#define EXACT_TWO_KEY hdr.ipv6.src
#define EXACT_TWO_DEFAULT 8
#define LONGEST_SIZE 1
#define TERNARY ternary_other
#define FIXED_IPV4 5
#define MIXED_DEFAULT const default_action
#define TWO_PARAMETERS bit<16> value, bit<9> port
#define SEEN_CELLS 4
#define LAST_TYPE_CELLS 8
#include "conformance.p4"
