/* Endpoints of one process. A hub is the allow-list: all endpoints of one hub may reach each other
 * by name. */
#ifndef TRANSPORT_INPROC_INPROC_H
#define TRANSPORT_INPROC_INPROC_H

#include "transport/transport.h"

struct inproc_hub;
NODISCARD shoal_status inproc_hub_create(struct inproc_hub **out, struct shoal_error *error);
void inproc_hub_destroy(struct inproc_hub *hub); /* after its endpoints */

/* Errors: BUSY (the name is taken), NO_MEMORY. connect ignores address and key. */
NODISCARD shoal_status inproc_create(struct inproc_hub *hub,
                                     const struct transport_options *options,
                                     struct transport **out, struct shoal_error *error);

/* Ends an endpoint without goodbye, as a crash would: its peers see PEER_LOST "closed". For tests.
 */
void inproc_vanish(struct transport *t);

#endif
