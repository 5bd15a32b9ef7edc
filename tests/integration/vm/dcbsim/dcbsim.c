// SPDX-License-Identifier: GPL-2.0
/*
 * dcbsim: an Ethernet device for tests, roce0, that has data centre bridging and drops whatever it is to send.
 *
 * It does what adapters do: it keeps PFC, ETS and buffers and refuses shares that are not 100 % together; the mode of
 * DCBX can be changed; each change of PFC restarts the link, and PFC and a pause of everything exclude each other, the
 * latter not coming back; a pause that does not end is ended after a time (ethtool's pfc-prevention-tout). What it is
 * given to send counts as a pause frame received for its priority, so that a counter moves.
 */
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/rtnetlink.h>
#include <net/dcbnl.h>

struct dcbsim {
	struct ieee_pfc pfc;
	struct ieee_ets ets;
	struct dcbnl_buffer buffer;
	struct ethtool_pauseparam pause;
	u16 stall_ms;
	u8 dcbx;
};

static int get_pfc(struct net_device *dev, struct ieee_pfc *pfc)
{
	*pfc = ((struct dcbsim *)netdev_priv(dev))->pfc;
	return 0;
}

static int set_pfc(struct net_device *dev, struct ieee_pfc *pfc)
{
	struct dcbsim *sim = netdev_priv(dev);

	sim->pfc.pfc_en = pfc->pfc_en;
	sim->pfc.mbc = pfc->mbc;
	sim->pfc.delay = pfc->delay;
	if (pfc->pfc_en)
		sim->pause.rx_pause = sim->pause.tx_pause = 0;
	netif_carrier_off(dev);
	netif_carrier_on(dev);
	return 0;
}

static int get_ets(struct net_device *dev, struct ieee_ets *ets)
{
	*ets = ((struct dcbsim *)netdev_priv(dev))->ets;
	return 0;
}

static int set_ets(struct net_device *dev, struct ieee_ets *ets)
{
	int i, sum = 0, sharing = 0;

	for (i = 0; i < IEEE_8021QAZ_MAX_TCS; i++) {
		if (ets->prio_tc[i] >= IEEE_8021QAZ_MAX_TCS)
			return -EINVAL;
		if (ets->tc_tsa[i] == IEEE_8021QAZ_TSA_ETS) {
			sum += ets->tc_tx_bw[i];
			sharing = 1;
		}
	}
	if (sharing && sum != 100)
		return -EINVAL;
	((struct dcbsim *)netdev_priv(dev))->ets = *ets;
	return 0;
}

static int get_buffer(struct net_device *dev, struct dcbnl_buffer *buffer)
{
	*buffer = ((struct dcbsim *)netdev_priv(dev))->buffer;
	return 0;
}

static int set_buffer(struct net_device *dev, struct dcbnl_buffer *buffer)
{
	((struct dcbsim *)netdev_priv(dev))->buffer = *buffer;
	return 0;
}

static u8 get_dcbx(struct net_device *dev)
{
	return ((struct dcbsim *)netdev_priv(dev))->dcbx;
}

static u8 set_dcbx(struct net_device *dev, u8 mode)
{
	((struct dcbsim *)netdev_priv(dev))->dcbx = mode;
	return 0;
}

static const struct dcbnl_rtnl_ops dcb_ops = {
	.ieee_getpfc = get_pfc,
	.ieee_setpfc = set_pfc,
	.ieee_getets = get_ets,
	.ieee_setets = set_ets,
	.dcbnl_getbuffer = get_buffer,
	.dcbnl_setbuffer = set_buffer,
	.getdcbx = get_dcbx,
	.setdcbx = set_dcbx,
};

static void get_pause(struct net_device *dev, struct ethtool_pauseparam *pause)
{
	*pause = ((struct dcbsim *)netdev_priv(dev))->pause;
}

static int set_pause(struct net_device *dev, struct ethtool_pauseparam *pause)
{
	struct dcbsim *sim = netdev_priv(dev);

	if (sim->pfc.pfc_en && (pause->rx_pause || pause->tx_pause))
		return -EINVAL;
	sim->pause = *pause;
	return 0;
}

static int get_tunable(struct net_device *dev, const struct ethtool_tunable *tunable, void *data)
{
	if (tunable->id != ETHTOOL_PFC_PREVENTION_TOUT)
		return -EOPNOTSUPP;
	*(u16 *)data = ((struct dcbsim *)netdev_priv(dev))->stall_ms;
	return 0;
}

static int set_tunable(struct net_device *dev, const struct ethtool_tunable *tunable, const void *data)
{
	if (tunable->id != ETHTOOL_PFC_PREVENTION_TOUT)
		return -EOPNOTSUPP;
	((struct dcbsim *)netdev_priv(dev))->stall_ms = *(u16 *)data;
	return 0;
}

static const struct ethtool_ops tool_ops = {
	.get_link = ethtool_op_get_link,
	.get_pauseparam = get_pause,
	.set_pauseparam = set_pause,
	.get_tunable = get_tunable,
	.set_tunable = set_tunable,
};

static netdev_tx_t drop(struct sk_buff *skb, struct net_device *dev)
{
	((struct dcbsim *)netdev_priv(dev))->pfc.indications[skb->priority & 7]++;
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}

static const struct net_device_ops net_ops = { .ndo_start_xmit = drop };

static void setup(struct net_device *dev)
{
	struct dcbsim *sim = netdev_priv(dev);
	int i;

	ether_setup(dev);
	dev->netdev_ops = &net_ops;
	dev->ethtool_ops = &tool_ops;
	dev->dcbnl_ops = &dcb_ops;
	eth_hw_addr_random(dev);
	sim->dcbx = DCB_CAP_DCBX_HOST | DCB_CAP_DCBX_VER_IEEE;
	sim->stall_ms = 100;
	sim->pfc.pfc_cap = sim->ets.ets_cap = IEEE_8021QAZ_MAX_TCS;
	sim->buffer.buffer_size[0] = sim->buffer.total_size = 262016;
	for (i = 0; i < IEEE_8021QAZ_MAX_TCS; i++)
		sim->ets.prio_tc[i] = i;
}

static struct platform_device *parent; /* what an adapter has: roce0 is no virtual device */
static struct net_device *roce;

static int __init dcbsim_init(void)
{
	int failed;

	parent = platform_device_register_simple("dcbsim", -1, NULL, 0);
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	roce = alloc_netdev(sizeof(struct dcbsim), "roce%d", NET_NAME_ENUM, setup);
	failed = roce ? 0 : -ENOMEM;
	if (!failed) {
		SET_NETDEV_DEV(roce, &parent->dev);
		failed = register_netdev(roce);
		if (failed)
			free_netdev(roce);
	}
	if (failed)
		platform_device_unregister(parent);
	return failed;
}

static void __exit dcbsim_exit(void)
{
	unregister_netdev(roce);
	free_netdev(roce);
	platform_device_unregister(parent);
}

module_init(dcbsim_init);
module_exit(dcbsim_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A device with data centre bridging, for tests");
