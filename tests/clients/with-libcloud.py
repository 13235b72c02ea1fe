"""Uses a cloud through libcloud as its users do. The task is named on the command line, its words come as JSON on standard input, and
what was seen goes as JSON to standard output."""

import json
import sys

from libcloud.common.types import InvalidCredsError, ProviderError
from libcloud.compute.providers import get_driver
from libcloud.compute.types import KeyPairDoesNotExistError, Provider


def named(items, name):
    return next(item for item in items if item.name == name)


def shown(node):
    return {
        "id": node.id,
        "name": node.name,
        "state": node.state,
        "addresses": node.private_ips,
        "image": node.extra["image_name"],
        "size": node.extra["size_name"],
        "zone": node.extra["zone_name"],
    }


def refusal(attempt):
    """What is raised, as one sees it who catches it."""
    try:
        attempt()
    except InvalidCredsError as error:
        return {"kind": "credentials", "text": str(error)}
    except ProviderError as error:
        return {"kind": "provider", "status": error.http_code, "text": str(error.value)}
    except KeyPairDoesNotExistError as error:
        return {"kind": "no key pair", "text": error.name}
    except Exception as error:  # A job that failed is a plain Exception to libcloud.
        return {"kind": type(error).__name__, "text": str(error)}
    return None


def login(driver, _):
    return refusal(driver.list_locations)


def catalogue(driver, _):
    return {
        "locations": [each.name for each in driver.list_locations()],
        "images": [{"name": each.name, **each.extra} for each in driver.list_images()],
        "imagesOfZone": [each.name for each in driver.list_images(location=driver.list_locations()[0])],
        "sizes": [[each.name, each.extra["cpu"], each.ram] for each in driver.list_sizes()],
        "disks": [[each.name, each.size, each.customizable] for each in driver.ex_list_disk_offerings()],
        "networkOfferings": [
            [each.name, each.guest_ip_type, each.for_vpc, each.service_offering_id]
            for each in driver.ex_list_network_offerings()
        ],
        "osTypes": [each["description"] for each in driver.ex_list_os_types()],
        "nothing": [
            driver.list_nodes(),
            driver.ex_list_networks(),
            driver.list_volumes(),
            driver.list_key_pairs(),
            driver.ex_list_public_ips(),
        ],
    }


def keys(driver, given):
    made = driver.create_key_pair("made")
    imported = driver.import_key_pair_from_string("imported", given["publicKey"])
    listed = [[each.name, each.fingerprint] for each in driver.list_key_pairs()]
    again = driver.get_key_pair("made")
    driver.delete_key_pair(imported)
    return {
        "private": made.private_key.splitlines()[0],
        "fingerprints": [made.fingerprint, imported.fingerprint, again.fingerprint],
        "listed": listed,
        "left": [each.name for each in driver.list_key_pairs()],
        "deleted": refusal(lambda: driver.get_key_pair("imported")),
        "twice": refusal(lambda: driver.create_key_pair("made")),
    }


def deploy(driver, given):
    location = named(driver.list_locations(), given["location"])
    offering = named(driver.ex_list_network_offerings(), given["networkOffering"])
    network = driver.ex_create_network(given["displayText"], given["network"], offering, location)
    node = driver.create_node(
        name=given["name"],
        size=named(driver.list_sizes(), given["size"]),
        image=named(driver.list_images(), given["image"]),
        location=location,
        networks=[network],
        ex_displayname=given["displayText"],
        ex_keyname="made",
        ex_userdata=given["userData"],
        ex_ip_address=given["address"],
        ex_start_vm=True,
    )
    return {
        "made": shown(node),
        "networks": [[each.id, each.name, each.extra["state"]] for each in driver.ex_list_networks()],
        "network": network.id,
    }


def look(driver, given):
    node = driver.ex_get_node(given["id"])
    location = driver.list_locations()[0]
    volumes = driver.list_volumes(node=node)
    return {
        "node": shown(node),
        "nodes": [shown(each) for each in driver.list_nodes()],
        "inZone": [each.id for each in driver.list_nodes(location=location)],
        "volumes": [[each.name, each.size, each.state, each.extra["instance_id"]] for each in volumes],
        "volume": driver.ex_get_volume(volumes[0].id).id == volumes[0].id,
        "nics": [
            [each.network_id, each.ip_address, each.net_mask, each.gateway, each.is_default]
            for each in driver.ex_list_nics(node)
        ],
        "publicAddresses": [[each.address, each.associated_network_id] for each in driver.ex_list_public_ips()],
    }


def operate(driver, given):
    node = driver.ex_get_node(given["id"])
    seen = [driver.reboot_node(node), driver.ex_get_node(node.id).state]
    seen += [driver.ex_stop(node), driver.ex_get_node(node.id).state]
    seen += [driver.ex_start(node), driver.ex_get_node(node.id).state]
    return seen


def without_start(driver, given):
    """Without `ex_start_vm` libcloud says `startvm=False`; without networks the cloud chooses."""
    node = driver.create_node(
        name=given["name"],
        size=named(driver.list_sizes(), given["size"]),
        image=named(driver.list_images(), given["image"]),
    )
    return shown(node)


def refused(driver, given):
    size = named(driver.list_sizes(), given["tooLarge"])
    image = named(driver.list_images(), given["image"])
    node = driver.ex_get_node(given["id"])
    return {
        "unknown": refusal(lambda: driver.ex_get_node(given["unknown"])),
        "foreign": refusal(lambda: driver.ex_get_node(given["foreign"])),
        "name": refusal(lambda: driver.create_node(name="under_score", size=size, image=image)),
        "room": refusal(lambda: driver.create_node(name="too-large", size=size, image=image, ex_start_vm=True)),
        "state": refusal(lambda: driver.ex_start(node)),
    }


def destroy(driver, given):
    return driver.destroy_node(driver.ex_get_node(given["id"]), ex_expunge=given["expunge"])


def refused_destroy(driver, given):
    return refusal(lambda: destroy(driver, given))


def register_iso(driver, given):
    location = driver.list_locations()[0]
    os_type = driver.ex_list_os_types()[0]["id"]
    made = driver.ex_register_iso("rescue", given["from"], location=location, bootable=True, ostypeid=os_type)
    return [[each["name"], each["zoneid"] == location.id, each["ostypeid"] == os_type] for each in made["iso"]]


def delete_network(driver, given):
    network = next(each for each in driver.ex_list_networks() if each.id == given["id"])
    return [driver.ex_delete_network(network), [each.id for each in driver.ex_list_networks()]]


def main():
    given = json.load(sys.stdin)
    driver = get_driver(Provider.CLOUDSTACK)(given["apiKey"], given["secretKey"], secure=False, url=given["url"])
    # libcloud asks for a job every second; a simulated cloud has most of them done sooner.
    driver.connection.poll_interval = 0.2
    tasks = [
        login,
        catalogue,
        keys,
        deploy,
        look,
        operate,
        without_start,
        refused,
        destroy,
        refused_destroy,
        register_iso,
        delete_network,
    ]
    task = next(task for task in tasks if task.__name__ == sys.argv[1])
    json.dump(task(driver, given), sys.stdout)


main()
