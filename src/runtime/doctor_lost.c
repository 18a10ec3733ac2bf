/* Devices that cannot be reached: why, and what mends it. */
#include "runtime/cluster_file.h"
#include "runtime/doctor_internal.h"

#include <stdio.h>
#include <string.h>

/* What a reason says about the layers: all before `broken` hold. */
static const struct {
    enum transport_lost reason;
    enum doctor_layer broken;
} reasons[] = {
    {TRANSPORT_LOST_UNRESOLVED, DOCTOR_NAME}, {TRANSPORT_LOST_NO_ROUTE, DOCTOR_PORT},
    {TRANSPORT_LOST_NO_ANSWER, DOCTOR_PORT},  {TRANSPORT_LOST_NO_LISTENER, DOCTOR_PORT},
    {TRANSPORT_LOST_MUTE, DOCTOR_KEY},        {TRANSPORT_LOST_FOREIGN, DOCTOR_KEY},
    {TRANSPORT_LOST_WRONG_KEY, DOCTOR_KEY},   {TRANSPORT_LOST_REFUSED_KEY, DOCTOR_KEY},
    {TRANSPORT_LOST_VERSION, DOCTOR_VERSION},
};

static enum doctor_layer broken_layer(enum transport_lost reason) {
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].reason == reason) {
            return reasons[i].broken;
        }
    }
    return DOCTOR_ANSWERS; /* it was connected, and then went */
}

static void fix_of_key(const struct doctor_options *options, const struct cluster_device *device,
                       struct doctor_finding *finding) {
    switch ((int)device->lost_reason) {
    case TRANSPORT_LOST_REFUSED_KEY:
        doctor_fix(
            finding,
            "on it, add this line to its allow-list (/etc/shoal/allow, --allow FILE; a cluster "
            "file: under clients) and run: sudo systemctl reload shoal\n%s %s",
            options->client_name, options->cluster->owner_key);
        break;
    case TRANSPORT_LOST_WRONG_KEY:
        doctor_fix(finding,
                   "on it: sudo -u shoal shoal key --show --key /var/lib/shoal/key (a node of your "
                   "own: shoal key --show); write its public key into the line of %s in %.100s",
                   device->name, options->cluster->file->path);
        break;
    case TRANSPORT_LOST_FOREIGN:
        doctor_fix(finding, "something else uses that port; on it: sudo ss -tlnp; write the node's "
                            "address into the file");
        break;
    default:
        doctor_fix(finding, "on it: sudo systemctl restart shoal; journalctl -u shoal");
        break;
    }
}

static void fix_of_port(const struct cluster_device *device, struct doctor_finding *finding) {
    char host[256] = "?";
    uint16_t port = 0;
    (void)cluster_file_split_address(device->address, host, &port);
    switch ((int)device->lost_reason) {
    case TRANSPORT_LOST_NO_LISTENER:
        doctor_fix(finding,
                   "on it: sudo systemctl start shoal, or: shoal node --listen tcp://0.0.0.0:%u (a "
                   "node that listens at 127.0.0.1 is not reached from elsewhere)",
                   port);
        break;
    case TRANSPORT_LOST_NO_ROUTE:
        doctor_fix(finding, "is the address right? here: ip route get %.100s", host);
        break;
    default:
        doctor_fix(finding,
                   "is it switched on? here: ping -c 3 %.100s; a firewall on it? there: sudo ufw "
                   "allow %u/tcp",
                   host, port);
        break;
    }
}

static void fix(const struct doctor_options *options, const struct cluster_device *device,
                struct doctor_finding *finding) {
    switch (finding->layer) {
    case DOCTOR_NAME:
        doctor_fix(finding,
                   "write its IP address into the line of %s in %.100s (on it: ip address)",
                   device->name, options->cluster->file->path);
        break;
    case DOCTOR_PORT:
        fix_of_port(device, finding);
        break;
    case DOCTOR_KEY:
        fix_of_key(options, device, finding);
        break;
    case DOCTOR_VERSION:
        doctor_fix(finding, "install the same version of Shoal on both");
        break;
    case DOCTOR_ANSWERS:
        doctor_fix(finding, "on it: journalctl -u shoal; sudo systemctl restart shoal");
        break;
    case DOCTOR_CLOCK:
    case DOCTOR_MEMORY:
    case DOCTOR_DISK:
    case DOCTOR_KERNELS:
    case DOCTOR_LINK:
    case DOCTOR_PEERS:
        break;
    }
}

shoal_status doctor_explain_lost(const struct doctor_options *options, uint32_t index,
                                 struct doctor_report *report, struct shoal_error *error) {
    const struct cluster_device *device = &options->cluster->devices[index];
    const enum doctor_layer broken = broken_layer(device->lost_reason);
    struct doctor_finding *finding;
    for (enum doctor_layer layer = DOCTOR_NAME; layer < broken; layer++) {
        TRY(doctor_add(report, index, layer, DOCTOR_OK, &finding, error));
        doctor_say(finding, "%s", layer == DOCTOR_NAME ? device->address : "");
    }
    TRY(doctor_add(report, index, broken, DOCTOR_BROKEN, &finding, error));
    doctor_say(finding, "%s", device->lost_text);
    fix(options, device, finding);
    return SHOAL_OK;
}
