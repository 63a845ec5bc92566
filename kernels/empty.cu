/* A kernel that does nothing.
 *
 * Moves no bytes and does no operations: what is timed is the launch itself.
 */
#include "prelude.h"

KERNEL empty()
{
}
